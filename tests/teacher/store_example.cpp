#include "tests/teacher/store_example.h"

#include <ATen/ATen.h>

#include "teacher/payload_rows.h"
#include "teacher/store_shard.h"

namespace temper {

PayloadSpec example_spec(Payload kind, at::ScalarType dtype) {
  PayloadSpec spec;
  spec.kind = kind;
  spec.vocab = 256;  // so that any byte is an id
  spec.width = 10;
  spec.entries = kind == Payload::kTopk || kind == Payload::kSample ? 5 : 0;
  spec.dtype = dtype;
  return spec;
}

StoreIndex example_index(const PayloadSpec& spec) {
  StoreIndex index;
  index.temper = "1.2.3";
  index.teacher = std::string(32, 'a');
  index.data = std::string(16, 'b');
  index.tokenizer = std::string(16, 'c');
  index.payload = spec;
  index.precision = "fp32";
  index.temperature = 2.5;
  index.seed = 11;
  index.steps = 7;
  index.batch = 5;
  index.seq = 6;
  index.parts = 2;
  index.micro_batch = 2;
  index.steps_per_shard = 3;
  index.compression = 3;
  index.data_words = "example data";
  return index;
}

StoreIndex topk_index() { return example_index(example_spec(Payload::kTopk, at::kBFloat16)); }

at::Tensor example_tokens(const StoreIndex& index, int64_t first, int64_t count) {
  return at::arange(first * index.seq, (first + count) * index.seq, at::kLong)
      .view({count, index.seq});  // (B, S)
}

at::Tensor example_row(const StoreIndex& index, int64_t row) {
  at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(row) + 1);
  // Without the highest bit of an exponent, whatever the type: no NaN, no infinity.
  return at::randint(0, 256, {index.row_bytes()}, generator, at::kByte)
      .bitwise_and_(0xBF);  // (bytes)
}

void write_example_shard(const StoreIndex& index, const std::string& dir, const ShardId& shard) {
  ShardWriter writer(index, dir, shard);
  const RowRange own =
      share(index.batch, static_cast<int>(shard.part), static_cast<int>(index.parts));
  std::vector<unsigned char> bytes(static_cast<size_t>(index.row_bytes()));
  const int64_t first = shard.chunk * index.steps_per_shard;
  for (int64_t step = first; step < first + index.steps_of(shard); ++step) {
    for (int64_t in_batch = own.begin; in_batch < own.end; ++in_batch) {
      const int64_t row = step * index.batch + in_batch;
      const PayloadView view(example_row(index, row), index.payload, index.seq);
      take_row(view, index.payload, 0, index.seq, bytes.data());
      writer.add(hash_tokens(example_tokens(index, row, 1)), bytes.data());
    }
  }
  writer.commit();
}

void write_example(const StoreIndex& index, const std::string& dir) {
  write_store_index(dir, index);
  for (const ShardId& shard : index.shards()) write_example_shard(index, dir, shard);
}

}  // namespace temper
