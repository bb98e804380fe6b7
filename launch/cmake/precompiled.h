// The headers that nearly every file needs and that take longest to parse.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>
