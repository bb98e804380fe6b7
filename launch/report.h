// Runs as one web page for people: tables of results, curves, reliability diagrams and the
// configuration. One file without scripts or network, for light and dark screens, phones and paper.
#pragma once

#include <string>
#include <vector>

namespace temper {

struct ReportRun;

/// Reads config.ini, metrics.jsonl, hard-labels-metrics.jsonl, teacher-metrics.jsonl and
/// summary.json of a run folder, as far as they are there, and writes run_dir/report.html. What a
/// run did not measure is left out. Throws c10::ValueError if this is no run folder or a file is no
/// JSON, c10::Error if the page cannot be written.
void write_report(const std::string& run_dir);

/// The same for one or several run folders as the file `path`; several are compared, and each
/// follows by itself. Throws as write_report().
void write_report(const std::vector<std::string>& run_dirs, const std::string& path);

/// The page of one run, or of several beside each other, as text.
std::string report_page(const std::vector<ReportRun>& runs);

}  // namespace temper
