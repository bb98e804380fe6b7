// Does a store fit what is asked for? Field by field, so that a refusal says which one differs,
// both values, and what to do.
#pragma once

#include <string>

#include "teacher/store_index.h"

namespace temper {

/// For a replay from the store in `dir`: `run` holds what the run is (payload, temperature, seed,
/// seq, data, tokenizer; the rest is not looked at, since any batch, any number of students and
/// any teacher will do). Throws c10::ValueError naming --teacher.store, the field, both values and
/// the remedy.
void check_replay_fits(const StoreIndex& store, const StoreIndex& run, const std::string& dir);

/// For going on with the store in `dir`, or mending it: every field that a shard depends on must be
/// that of `wanted`. `option` is the option that named the folder. Throws c10::ValueError naming
/// option, field and both values.
void check_same_store(const StoreIndex& store, const StoreIndex& wanted, const std::string& dir,
                      const std::string& option);

/// The command that makes missing and damaged shards again.
std::string mend_command(const StoreIndex& store, const std::string& dir);

}  // namespace temper
