// TensorBoard's event files: scalars over steps, as its own writers make them. The format is two
// small things, which are written by hand here rather than taken along as dependencies:
//
//   TFRecord  length (uint64), masked CRC-32C of these 8 bytes, data, masked CRC-32C of the data;
//             all little-endian (tensorflow/core/lib/io/record_writer.h)
//   Event     a protobuf message: 1 wall_time (double), 2 step (int64), 3 file_version (string) or
//             5 summary, whose values are 1 { 1 tag (string), 2 simple_value (float) }
//             (tensorflow/core/util/event.proto, framework/summary.proto)
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace temper {

/// CRC-32C (Castagnoli; reflected polynomial 0x82f63b78), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

/// `data` as one TFRecord.
std::string tfrecord(std::string_view data);

using Scalars = std::vector<std::pair<std::string, double>>;  ///< tag, value

/// An Event with a summary of scalars, as protobuf bytes. `wall_time`: seconds since 1970.
std::string scalar_event(double wall_time, int64_t step, const Scalars& scalars);

/// One event file; each event is flushed, so that TensorBoard shows a run that goes on.
class TensorboardFile {
 public:
  /// Writes nothing.
  TensorboardFile() = default;
  /// Makes `dir` and writes DIR/events.out.tfevents.NAME over an older one. Files of a folder are
  /// one run for TensorBoard, and are read in the order of their names. Throws c10::Error with path
  /// and reason.
  TensorboardFile(const std::string& dir, const std::string& name);

  /// Values become float32; one that is not finite is kept as it is. Throws c10::Error with path
  /// and reason.
  void write(int64_t step, const Scalars& scalars);

 private:
  void append(const std::string& event);

  std::string path_;
  std::ofstream file_;
};

}  // namespace temper
