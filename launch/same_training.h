// Whether two resolved configurations train the same thing. A run may go on with other ranks, other
// paths and another log, and with nothing else.
#pragma once

#include <string>

namespace temper {

/// Throws c10::ValueError naming `where` (the earlier one's place), the option and both values.
void check_same_training(const std::string& earlier_ini, const std::string& ini,
                         const std::string& where);

}  // namespace temper
