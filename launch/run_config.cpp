#include "launch/run_config.h"

#include <c10/util/Exception.h>

namespace temper {

namespace po = boost::program_options;

void RunConfig::add_options(po::options_description& options, bool folder) {
  auto add = options.add_options();
  if (folder) {
    add("run.dir", po::value<std::string>(&dir)->default_value(dir)->value_name("DIR"),
        "run folder: configuration, metrics, checkpoints, the student (empty: runs/COMMAND-TIME)");
    add("run.overwrite",
        po::value<bool>(&overwrite)->default_value(overwrite)->value_name("true|false"),
        "write into a run folder that already holds a run");
    add("run.resume",
        po::value<std::string>(&resume)->default_value(resume)->value_name("no|auto|DIR"),
        "go on with the run in run.dir: from its newest checkpoint that is not damaged (auto; "
        "begins "
        "where there is none), or from this one; with any number of ranks");
    add("run.seed", po::value<int64_t>(&seed)->default_value(seed)->value_name("N"),
        "seed of initial weights and of the order of the data");
  }
  add("run.threads", po::value<int64_t>(&threads)->default_value(threads)->value_name("N"),
      "threads of each rank (0: the node's cores shared out over its ranks)");
  add("run.device",
      po::value<std::string>(&device)->default_value(device)->value_name("auto|cpu|cuda"),
      "where models run; auto: a GPU if one is visible");
  add("run.precision",
      po::value<std::string>(&precision)->default_value(precision)->value_name("fp32|bf16"),
      "matrix products and soft targets on the wire; master weights, softmaxes and the optimizer "
      "stay in fp32");
  add("run.timeout", po::value<double>(&timeout)->default_value(timeout)->value_name("SECONDS"),
      "a rank that stands still for so long, while it or another waits, is named and the job ends "
      "(0: wait for ever); computing never counts as standing still");
}

void RunConfig::validate() const {
  TORCH_CHECK_VALUE(!resume.empty(), "--run.resume is empty: give no, auto, or a checkpoint");
  TORCH_CHECK_VALUE(resume != "auto" || !dir.empty(),
                    "--run.resume auto without --run.dir: name the run folder to go on with");
  TORCH_CHECK_VALUE(resume == "no" || !overwrite, "--run.resume ", resume,
                    " goes on with a run, and --run.overwrite true puts a new one in its place: "
                    "give --run.overwrite false, or --run.resume no");
  TORCH_CHECK_VALUE(seed >= 0, "--run.seed is ", seed, ": give a whole number of at least 0");
  TORCH_CHECK_VALUE(threads >= 0 && threads <= 4096, "--run.threads is ", threads,
                    ": give 0 (automatic) to 4096");
  TORCH_CHECK_VALUE(device == "auto" || device == "cpu" || device == "cuda", "--run.device is '",
                    device, "': give auto, cpu or cuda");
  TORCH_CHECK_VALUE(precision == "fp32" || precision == "bf16", "--run.precision is '", precision,
                    "': give fp32 or bf16");
  TORCH_CHECK_VALUE(timeout == 0 || (timeout >= 1 && timeout <= 1e7), "--run.timeout is ", timeout,
                    ": give 1 second or more, or 0 (no watchdog)");
}

std::string RunConfig::crash_note(int64_t checkpoint_every) const {
  if (resume != "auto" || checkpoint_every > 0) return "";
  return "no checkpoints before the end of a stage (train.checkpoint-every is 0): after a crash it "
         "begins anew";
}

at::ScalarType RunConfig::compute() const {
  return precision == "bf16" ? at::kBFloat16 : at::kFloat;
}

}  // namespace temper
