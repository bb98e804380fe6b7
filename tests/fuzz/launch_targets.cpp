// Readers of launch/: configuration, command line, prompts, and run folders as `temper report`
// takes them.
#include <boost/program_options/value_semantic.hpp>
#include <memory>

#include "launch/distill_config.h"
#include "launch/generate_config.h"
#include "launch/options.h"
#include "launch/plan_config.h"
#include "launch/report.h"
#include "launch/report_run.h"
#include "tests/fuzz/targets.h"

namespace temper {
namespace {

namespace po = boost::program_options;

/// All sections that commands are made of.
struct Options {
  DistillConfig distill;
  GenerateConfig generate;
  PlanConfig plan;
  std::string config;
  po::options_description described;

  Options() {
    described.add_options()("config", po::value<std::string>(&config), "");
    distill.add_options(described);
    generate.add_options(described);
    plan.add_options(described);
  }
};

/// Options as they come from the user: parsed, judged, and written out as a run does.
void use_options(const std::vector<std::string>& arguments) {
  Options options;
  parse_options("distill", arguments, options.described, options.described);
  options.distill.validate();
  options.plan.validate();
  if (options.generate.prompt) options.generate.validate();
  resolved_ini("distill", arguments, options.described, options.described);
}

/// "--name=" (or "name = ") of every option.
std::vector<std::string> option_words(const std::string& before, const std::string& after) {
  std::vector<std::string> words;
  const Options options;
  for (const auto& option : options.described.options())
    words.push_back(before + option->long_name() + after);
  return words;
}

FuzzReader ini_reader(const std::string& work) {
  // The others want options that are given on the command line.
  std::vector<std::string> relatives;
  for (const char* name : {"from-teacher", "study", "text"})
    relatives.push_back(file_content(source_file(std::string("configs/") + name + ".ini")));
  return {{file_content(source_file("configs/quickstart.ini"))},
          [path = work + "/x.ini"](const std::string& bytes) {
            write_file(path, bytes);
            use_options({"--config", path});
          },
          option_words("", " = "),
          relatives};
}

// An argument a line.
FuzzReader command_line_reader(const std::string&) {
  const std::vector<std::string> seeds = {
      "--train.steps\n100\n--train.lr=1e-3\n--student.layers\n2\n--loss.alpha=0.5",
      "--generate.prompt=one\n--generate.sample=true\n--generate.top-p\n0.9\n"
      "--generate.stop=\\n"};
  return {seeds,
          [](const std::string& bytes) {
            std::vector<std::string> arguments;
            for (size_t begin = 0; begin <= bytes.size();) {
              const size_t end = std::min(bytes.find('\n', begin), bytes.size());
              arguments.push_back(bytes.substr(begin, end - begin));
              // Other files are not for the fuzzer to read.
              if (arguments.back().rfind("--config", 0) == 0) return;
              begin = end + 1;
            }
            use_options(arguments);
          },
          option_words("--", "=")};
}

FuzzReader prompts_reader(const std::string& work) {
  const std::vector<std::string> seeds = {
      "{\"prompt\": \"Once\"}\n{\"id\": 7, \"prompt\": \"upon \\u00e9\"}\r\n\n"};
  return {seeds,
          [work](const std::string& bytes) {
            GenerateConfig config;
            for (const char* name : {"/prompts.jsonl", "/prompts.txt"}) {
              config.prompts = work + name;
              write_file(config.prompts, bytes);
              config.validate();
              config.read_prompts();
            }
          },
          quoted_words(seeds)};
}

std::string example_summary() {
  const std::string metrics =
      R"({"nll":2.5,"accuracy":0.4,"ece":0.02,"ece_equal_mass":0.03,"brier":0.7,"tokens":100,)"
      R"("bins":[{"tokens":60,"confidence":0.2,"accuracy":0.25},{"tokens":40,"confidence":0.8,)"
      R"("accuracy":0.7}]})";
  return R"({"results":[{"name":"student","seed":1,"parameters":1000,"temperature":1.1,)"
         R"("undetermined":false,"fit":{"after":{"nll":2.4},"nll_curve":[{"temperature":0.5,)"
         R"("nll":3},{"temperature":1,"nll":2.5}]},"test":{"before":)" +
         metrics + R"(,"after":)" + metrics +
         R"(}}],"entropy_floor":1.9,"entropy_rate":{"nats_per_token":1.9,"standard_error":0.01},)"
         R"("training":{"seconds":12,"tokens_per_s":3456,"wait_teacher":0.1,"wait_student":0.2,)"
         R"("bytes_per_token":128}})";
}

/// A run folder of which `file` is mutated, and its page.
std::function<FuzzReader(const std::string&)> run_reader(const std::string& file,
                                                         std::vector<std::string> seeds) {
  return [=](const std::string& work) -> FuzzReader {
    std::vector<std::string> words = quoted_words(seeds);
    return {seeds,
            [=](const std::string& bytes) {
              write_file(work + "/" + file, bytes);
              const ReportRun run = read_run(work);
              report_page({run});
              report_page({run, run});
            },
            std::move(words)};
  };
}

}  // namespace

std::vector<FuzzTarget> launch_targets() {
  return {
      {"ini", ini_reader},
      {"command_line", command_line_reader},
      {"prompts", prompts_reader},
      {"run_config", run_reader("config.ini", {"# temper distill: the resolved configuration of "
                                               "this run\n\n[loss]\nalpha = 0.5\nkind = jsd\n"
                                               "beta = 0.3\ntoken-share = 0.5\n\n[teacher]\n"
                                               "temperature = 2\npayload = hidden\n"})},
      {"run_summary", run_reader("summary.json", {example_summary()})},
      {"run_metrics",
       run_reader(
           "metrics.jsonl",
           {R"({"step":1,"loss":3.5,"kl":1.2,"ce":3.9,"grad_norm":1.5,"lr":0.001,)"
            R"("tokens_per_s":1000,"wait_teacher":0.1,"wait_student":0.2,)"
            R"("bytes_per_token":64,"temperature":2,"alpha":0.5,"beta":0.1,"on_policy":true})"
            "\n"
            R"({"step":2,"loss":3.1,"kl":null,"lr":0.002})"
            "\n"})},
  };
}

}  // namespace temper
