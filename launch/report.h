// A run as one web page for people: the table of results, curves, reliability diagrams and the
// configuration.
#pragma once

#include <string>

namespace temper {

struct ReportRun;

/// Reads config.ini, metrics.jsonl, hard-labels-metrics.jsonl, teacher-metrics.jsonl and
/// summary.json of a run folder, as far as they are there, and writes run_dir/report.html: one file
/// without scripts or network, for light and dark screens, phones and paper. What a run did not
/// measure is left out. Throws c10::ValueError if this is no run folder or a file is no JSON,
/// c10::Error if the page cannot be written.
void write_report(const std::string& run_dir);

/// The page of write_report() as text.
std::string report_page(const ReportRun& run);

}  // namespace temper
