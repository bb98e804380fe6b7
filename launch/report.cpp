#include "launch/report.h"

#include <algorithm>

#include "data/atomic_file.h"
#include "launch/progress.h"
#include "launch/report_comparison.h"
#include "launch/report_run.h"
#include "launch/report_sections.h"
#include "launch/report_style.h"
#include "launch/report_svg.h"

namespace temper {

std::string report_page(const std::vector<ReportRun>& runs) {
  const bool one = runs.size() == 1;
  const std::string name =
      one ? escape_html(runs.front().name) : format("Comparison of %zu runs", runs.size());
  const std::string kind = one ? describe_run(runs.front()) : describe_comparison(runs);
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // Browsers ask for an icon otherwise, and complain where they find none.
      "<link rel=\"icon\" href=\"data:,\"/>\n<title>" +
      name + " – temper</title>\n<style>" + kReportStyle + "</style>\n</head>\n<body>\n<h1>" +
      name + "</h1>\n<p class=\"soft\">" + kind + "</p>\n";
  if (one) {
    html += run_sections(runs.front(), 2);
  } else {
    html += comparison_sections(runs);
    for (size_t i = 0; i < runs.size(); ++i) {
      html += format("<section class=\"run\" id=\"run-%zu\">\n", i + 1) +
              heading(2, escape_html(runs[i].name)) + "<p class=\"soft\">" + describe_run(runs[i]) +
              "</p>\n" + run_sections(runs[i], 3) + "</section>\n";
    }
  }
  return html + "</body>\n</html>\n";
}

void write_report(const std::string& run_dir) { write_report({run_dir}, run_dir + "/report.html"); }

void write_report(const std::vector<std::string>& run_dirs, const std::string& path) {
  std::vector<ReportRun> runs;
  for (const std::string& dir : run_dirs) runs.push_back(read_run(dir));
  // Folders of one name are told apart by the path that was given.
  std::vector<std::string> names;
  for (const ReportRun& run : runs) names.push_back(run.name);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (std::count(names.begin(), names.end(), names[i]) > 1) runs[i].name = run_dirs[i];
  }
  write_text_file(path, report_page(runs));
}

}  // namespace temper
