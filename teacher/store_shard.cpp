#include "teacher/store_shard.h"

#include <c10/util/Exception.h>
#include <zstd.h>

#include <bit>
#include <cstring>
#include <new>

namespace temper {
namespace {

static_assert(std::endian::native == std::endian::little, "shards hold little-endian numbers");

struct ShardHeader {
  char magic[8] = {'T', 'M', 'P', 'S', 'O', 'F', 'T', '1'};
  int64_t chunk = 0;
  int64_t part = 0;
  int64_t rows = 0;
  char index[32] = {};  // StoreIndex::fingerprint()
};
static_assert(sizeof(ShardHeader) == 64);

struct ShardEnd {
  uint64_t table = 0;  // where it begins
  ChecksumBytes checksum = {};
  char magic[8] = {'T', 'M', 'P', 'S', 'E', 'N', 'D', '1'};
};
static_assert(sizeof(ShardEnd) == 32);

ShardHeader make_header(const StoreIndex& index, const ShardId& shard) {
  ShardHeader header;
  header.chunk = shard.chunk;
  header.part = shard.part;
  header.rows = index.rows_of(shard);
  const std::string fingerprint = index.fingerprint();
  TORCH_INTERNAL_ASSERT(fingerprint.size() == sizeof header.index);
  std::memcpy(header.index, fingerprint.data(), sizeof header.index);
  return header;
}

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

ShardWriter::ShardWriter(const StoreIndex& index, const std::string& dir, const ShardId& shard)
    : rows_(index.rows_of(shard)),
      row_bytes_(static_cast<size_t>(index.row_bytes())),
      file_(dir + "/" + index.shard_name(shard)),
      frame_(ZSTD_compressBound(row_bytes_)),
      zstd_(ZSTD_createCCtx()) {
  if (zstd_ == nullptr) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(zstd_, ZSTD_c_compressionLevel, static_cast<int>(index.compression));
  const ShardHeader header = make_header(index, shard);
  write(&header, sizeof header);
}

ShardWriter::~ShardWriter() { ZSTD_freeCCtx(zstd_); }

void ShardWriter::write(const void* data, size_t bytes) {
  file_.write(data, bytes);
  checksum_.add({static_cast<const char*>(data), bytes});
  offset_ += bytes;
}

void ShardWriter::add(uint64_t token_hash, const unsigned char* bytes) {
  TORCH_INTERNAL_ASSERT(!complete());
  const size_t size = ZSTD_compress2(zstd_, frame_.data(), frame_.size(), bytes, row_bytes_);
  TORCH_CHECK(!ZSTD_isError(size), "zstd cannot compress ", row_bytes_,
              " bytes: ", ZSTD_getErrorName(size));
  table_.push_back({offset_, size, token_hash});
  write(frame_.data(), size);
}

void ShardWriter::commit() {
  TORCH_INTERNAL_ASSERT(complete());
  ShardEnd end;
  end.table = offset_;
  write(table_.data(), table_.size() * sizeof(ShardEntry));
  checksum_.add(bytes_of(end.table));
  end.checksum = checksum_.value();
  file_.write(&end, sizeof end);
  offset_ += sizeof end;
  file_.commit();
}

ShardReader::ShardReader(const StoreIndex& index, const std::string& dir, const ShardId& shard)
    : path_(dir + "/" + index.shard_name(shard)),
      file_(path_),
      rows_(index.rows_of(shard)),
      row_bytes_(static_cast<size_t>(index.row_bytes())) {
  const std::string_view bytes = file_.bytes();
  const auto table_bytes = static_cast<uint64_t>(rows_) * sizeof(ShardEntry);
  TORCH_CHECK_VALUE(bytes.size() >= sizeof(ShardHeader) + table_bytes + sizeof(ShardEnd), path_,
                    ": damaged: ", bytes.size(), " bytes are too few for its ", rows_, " rows");
  ShardEnd end;
  std::memcpy(&end, bytes.data() + bytes.size() - sizeof end, sizeof end);
  const std::string_view covered =
      bytes.substr(0, bytes.size() - sizeof end + sizeof end.table);  // header to table's place
  const ChecksumBytes found = checksum(covered);
  TORCH_CHECK_VALUE(std::memcmp(end.magic, ShardEnd{}.magic, sizeof end.magic) == 0, path_,
                    ": damaged: it does not end as a shard does (cut off?)");
  TORCH_CHECK_VALUE(found == end.checksum, path_, ": damaged: its checksum is ", hex_text(found),
                    " and ", hex_text(end.checksum), " is written in it");

  // What is written is what was written once. It may still be of another store, or a stranger's.
  const ShardHeader wanted = make_header(index, shard);
  ShardHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  TORCH_CHECK_VALUE(std::memcmp(header.magic, wanted.magic, sizeof wanted.magic) == 0, path_,
                    ": no shard of soft targets of this version");
  TORCH_CHECK_VALUE(std::memcmp(header.index, wanted.index, sizeof wanted.index) == 0, path_,
                    ": belongs to another store than ", kStoreIndexFile, " beside it");
  TORCH_CHECK_VALUE(
      header.chunk == wanted.chunk && header.part == wanted.part && header.rows == wanted.rows,
      path_, ": is the shard ", header.chunk, "-", header.part, " of ", header.rows, " rows, not ",
      wanted.chunk, "-", wanted.part, " of ", wanted.rows);
  table_ = end.table;
  uint64_t next = sizeof(ShardHeader);
  TORCH_CHECK_VALUE(table_ == bytes.size() - sizeof end - table_bytes, path_,
                    ": its table does not lie where it says");
  for (int64_t row = 0; row < rows_; ++row) {
    const ShardEntry at = entry(row);
    TORCH_CHECK_VALUE(at.offset == next && at.bytes <= table_ - next, path_, ": the frame of row ",
                      row, " lies at ", at.offset, " and has ", at.bytes, " bytes, out of place");
    next += at.bytes;
  }
  TORCH_CHECK_VALUE(next == table_, path_, ": has ", table_ - next, " bytes that belong to no row");
}

ShardEntry ShardReader::entry(int64_t row) const {
  TORCH_INTERNAL_ASSERT(row >= 0 && row < rows_);
  ShardEntry entry;
  std::memcpy(&entry, file_.bytes().data() + table_ + static_cast<size_t>(row) * sizeof entry,
              sizeof entry);
  return entry;
}

void ShardReader::read(int64_t row, unsigned char* out) const {
  const ShardEntry at = entry(row);
  const size_t size = ZSTD_decompress(out, row_bytes_, file_.bytes().data() + at.offset, at.bytes);
  TORCH_CHECK_VALUE(!ZSTD_isError(size), path_, ": row ", row,
                    " cannot be decompressed: ", ZSTD_getErrorName(size));
  TORCH_CHECK_VALUE(size == row_bytes_, path_, ": row ", row, " has ", size, " bytes instead of ",
                    row_bytes_);
}

}  // namespace temper
