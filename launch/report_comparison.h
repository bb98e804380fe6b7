// What a report says of several runs together: one table, what differs between their
// configurations, and their curves in the same drawings.
#pragma once

#include <string>
#include <vector>

#include "launch/report_run.h"

namespace temper {

/// Links to the runs' own sections (#run-1, …); HTML.
std::string describe_comparison(const std::vector<ReportRun>& runs);

/// The sections that come before those of each run.
std::string comparison_sections(const std::vector<ReportRun>& runs);

}  // namespace temper
