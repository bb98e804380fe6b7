// How far the ranks of `temper record` are, together: each tells rank 0 now and then, and rank 0
// draws the line on the screen.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/mpi/communicator.h"
#include "launch/progress.h"
#include "teacher/store_index.h"

namespace temper {

class RecordMeter {
 public:
  /// `rows` are to be made by all ranks together. `world` must outlive the object.
  RecordMeter(const Communicator& world, const StoreIndex& index, int64_t rows);

  /// This rank made `rows` more, which take `bytes` on the disk. Never waits.
  void add(int64_t rows, int64_t bytes);

  struct Totals {
    int64_t rows = 0;
    int64_t bytes = 0;
    double seconds = 0;
  };
  /// To be called on every rank once it has made all of its rows. On rank 0 waits for the others
  /// and returns the sums; elsewhere returns this rank's own.
  Totals finish();

 private:
  void send(bool done);
  void look();
  void draw();
  double seconds() const;

  const Communicator& world_;
  int64_t rows_to_make_;
  int64_t seq_;
  int64_t raw_bytes_;  // of a row
  std::chrono::steady_clock::time_point start_;
  std::vector<int64_t> rows_, bytes_;  // of every rank on rank 0; elsewhere of this one only
  std::vector<Request> reports_;       // on rank 0, of the others; elsewhere the one under way
  double sent_at_ = 0, drawn_at_ = 0, line_at_ = 0;
  bool drew_last_ = false;
  std::optional<Progress> progress_;
};

}  // namespace temper
