// What tests need beside the headers of all targets.
#pragma once

#include <gtest/gtest.h>

#include "launch/cmake/precompiled.h"
