// What a report says of one run: its key figures, results, calibration, training and configuration,
// as HTML. What the run did not measure is left out.
#pragma once

#include <string>

#include "launch/report_run.h"

namespace temper {

/// A heading; `level` 2 gives <h2>. `text` is HTML already.
std::string heading(int level, const std::string& text);

/// "temper distill, seed 7", as far as config.ini says it; HTML.
std::string describe_run(const ReportRun& run);

/// All sections of a run, their headings of `level`.
std::string run_sections(const ReportRun& run, int level);

}  // namespace temper
