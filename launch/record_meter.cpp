#include "launch/record_meter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "comm/activity.h"
#include "comm/mpi/backoff.h"

namespace temper {
namespace {

constexpr int kTag = 731;
constexpr double kReportSeconds = 0.5;  // between two reports of a rank
constexpr double kDrawSeconds = 0.1;

int64_t sum(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

}  // namespace

// A report: rows so far | bytes so far | 1 in the last one. int64 (3)

RecordMeter::RecordMeter(const Communicator& world, const StoreIndex& index, int64_t rows)
    : world_(world),
      rows_to_make_(rows),
      seq_(index.seq),
      raw_bytes_(index.row_bytes()),
      start_(std::chrono::steady_clock::now()) {
  const size_t count = world.rank() == 0 ? static_cast<size_t>(world.size()) : 1;
  rows_.resize(count);
  bytes_.resize(count);
  reports_.resize(count);
  if (world.rank() != 0) return;
  if (rows > 0) progress_.emplace("record rows", rows);
  for (size_t rank = 1; rank < count; ++rank)
    reports_[rank] = world.receive_async(at::empty({3}, at::kLong), static_cast<int>(rank), kTag);
}

double RecordMeter::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void RecordMeter::send(bool done) {
  sent_at_ = seconds();
  reports_[0] = world_.send_async(
      at::tensor({rows_[0], bytes_[0], static_cast<int64_t>(done)}, at::kLong), 0, kTag);  // (3)
}

/// Takes what has come from other ranks.
void RecordMeter::look() {
  for (size_t rank = 1; rank < reports_.size(); ++rank) {
    while (reports_[rank].active() && reports_[rank].test()) {
      const int64_t* report = reports_[rank].buffer().const_data_ptr<int64_t>();
      rows_[rank] = report[0];
      bytes_[rank] = report[1];
      if (report[2] != 0) break;
      reports_[rank] =
          world_.receive_async(at::empty({3}, at::kLong), static_cast<int>(rank), kTag);
    }
  }
}

void RecordMeter::draw() {
  const int64_t rows = sum(rows_);
  const double now = seconds();
  const bool last = rows == rows_to_make_;
  if (!progress_ || rows == 0 || drew_last_ || (!last && now - drawn_at_ < kDrawSeconds)) return;
  const bool line = now - line_at_ >= kLineSeconds || last;
  drawn_at_ = now;
  drew_last_ = last;
  if (line) line_at_ = now;
  const auto tokens = static_cast<double>(rows * seq_);
  progress_->show(rows,
                  format("%3.0f%%  %s tok/s, bytes per token %.1f raw, %.1f on disk",
                         100.0 * static_cast<double>(rows) / static_cast<double>(rows_to_make_),
                         count_text(tokens / std::max(now, 1e-3)).c_str(),
                         static_cast<double>(raw_bytes_) / static_cast<double>(seq_),
                         static_cast<double>(sum(bytes_)) / tokens),
                  line);
}

void RecordMeter::add(int64_t rows, int64_t bytes) {
  rows_[0] += rows;
  bytes_[0] += bytes;
  if (world_.rank() == 0) {
    look();
    draw();
  } else if (seconds() - sent_at_ >= kReportSeconds && reports_[0].test()) {
    send(/*done=*/false);
  }
}

RecordMeter::Totals RecordMeter::finish() {
  if (world_.rank() != 0) {
    reports_[0].wait();
    send(/*done=*/true);
    reports_[0].wait();
  } else {
    const Waiting wait(Operation::kReport);
    const Backoff backoff;
    const auto waiting = [this] {
      return std::any_of(reports_.begin(), reports_.end(),
                         [](const Request& report) { return report.active(); });
    };
    for (look(); waiting(); look()) {
      draw();
      backoff.pause();
    }
    if (world_.size() > 1) draw();
  }
  return {sum(rows_), sum(bytes_), seconds()};
}

}  // namespace temper
