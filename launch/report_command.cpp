// temper report: the page of a run made anew, or one page for several. Under mpirun rank 0 works
// and the others wait.
#include <c10/util/Exception.h>

#include <boost/program_options/value_semantic.hpp>
#include <cstdio>
#include <filesystem>

#include "comm/agree.h"
#include "launch/command.h"
#include "launch/report.h"
#include "launch/report_run.h"

namespace temper {

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

class ReportCommand : public Command {
 public:
  std::string name() const override { return "report"; }
  std::string summary() const override {
    return "a page of one run, or of several beside each other: temper report RUN...";
  }
  std::string positional() const override { return "report.run"; }

  void add_options(po::options_description& options) override {
    auto add = options.add_options();
    add("report.run", po::value<std::vector<std::string>>(&runs_)->value_name("RUN"),
        "run folder; may be given several times, or as arguments without a name");
    add("report.file", po::value<std::string>(&file_)->default_value(file_)->value_name("FILE"),
        "page to write (empty: RUN/report.html for one run, comparison.html for several)");
  }

  void validate() const override {
    TORCH_CHECK_VALUE(!runs_.empty(),
                      "no run is named: give run folders, as in 'temper report runs/a runs/b'");
    for (size_t i = 0; i < runs_.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        std::error_code error;
        TORCH_CHECK_VALUE(runs_[i] != runs_[j] && !fs::equivalent(runs_[i], runs_[j], error),
                          "--report.run ", runs_[i], " is named twice: name each run once");
      }
    }
  }

  void run(const Invocation& invocation) override {
    agree(invocation.world, [&] {
      if (invocation.world.rank() != 0) return;
      const std::string path = !file_.empty()      ? file_
                               : runs_.size() == 1 ? runs_.front() + "/report.html"
                                                   : "comparison.html";
      if (invocation.dry_run) {
        for (const std::string& run : runs_) read_run(run);
        std::printf("%s\nwould write %s\n", invocation.ini.c_str(), path.c_str());
        return;
      }
      write_report(runs_, path);
      std::printf("%s\n", path.c_str());
    });
  }

 private:
  std::vector<std::string> runs_;
  std::string file_;
};

}  // namespace

std::unique_ptr<Command> make_report_command() { return std::make_unique<ReportCommand>(); }

}  // namespace temper
