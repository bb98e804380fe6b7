// Faults on request (--debug.fault), so that tests can see what a job makes of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

/// kill, stop   the rank gets SIGKILL, SIGSTOP
/// slow         from that step on each of its steps takes kSlowSeconds longer
/// nan          the last hidden states of its first micro-batch of the step become NaN
/// throw        an exception that nobody else expects
/// disk         the rank cannot write the checkpoint that follows the step: the disk is full
/// flip         one bit of the rank's files of that checkpoint is flipped once they are written
enum class FaultKind { kKill, kStop, kSlow, kNan, kThrow, kDisk, kFlip };

/// Where in the step kill, stop and throw strike.
///
///   forward   after the first forward pass of the step (of a teacher: its first for that step)
///   comm      a student has begun the reduction of gradients; a teacher has sent a micro-batch
///   save      the rank is about to write its part of a checkpoint
enum class FaultPlace { kForward, kComm, kSave };

struct Fault {
  int rank = 0;  ///< in the world
  int64_t step = 0;
  FaultKind kind = FaultKind::kKill;
  FaultPlace place = FaultPlace::kForward;

  /// RANK:STEP:KIND, or RANK:STEP:KIND@PLACE.
  std::string text() const;
};

struct FaultConfig {
  std::string faults;  ///< separated by commas; empty: none

  /// Declares `debug.fault`.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming option, value and remedy.
  void validate() const { parse(); }
  std::vector<Fault> parse() const;
};

constexpr double kSlowSeconds = 0.2;

/// The faults of this rank. kill, stop and throw strike once: an empty file in the run folder,
/// fault-RANK-STEP-KIND, remembers it over restarts.
class Faults {
 public:
  /// Throws c10::ValueError where a fault is for a rank that the world does not have.
  Faults(const FaultConfig& config, const Communicator& world, std::string run_dir);

  /// Of a micro-batch; `hidden` (N, C) is written for nan.
  void in_forward(int64_t step, const at::Tensor& hidden);
  void in_comm(int64_t step) { strike(step, FaultPlace::kComm); }
  void in_save(int64_t step) { strike(step, FaultPlace::kSave); }
  /// disk and flip, for whoever writes the rank's files of the checkpoint that follows `step`:
  /// before and after. From any thread.
  void before_writing(int64_t step, const std::string& folder) const;
  void after_writing(int64_t step, const std::string& file) const;

 private:
  bool has(FaultKind kind, int64_t step) const;
  void strike(int64_t step, FaultPlace place);

  std::vector<Fault> own_;
  std::string run_dir_;
  int64_t last_step_ = -1;  // of in_forward()
};

}  // namespace temper
