#include "data/checksum.h"

#include <c10/util/Exception.h>
#include <xxhash.h>

#include <cstring>
#include <new>

#include "data/mapped_file.h"

namespace temper {

struct Checksum::State {
  XXH3_state_t* xxh = XXH3_createState();

  State() {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

namespace {

ChecksumBytes canonical(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  ChecksumBytes value;
  static_assert(sizeof bytes.digest == sizeof value);
  std::memcpy(value.data(), bytes.digest, sizeof value);
  return value;
}

}  // namespace

Checksum::Checksum() : state_(std::make_unique<State>()) {}
Checksum::~Checksum() = default;
Checksum::Checksum(Checksum&&) noexcept = default;
Checksum& Checksum::operator=(Checksum&&) noexcept = default;

Checksum& Checksum::add(std::string_view bytes) {
  TORCH_INTERNAL_ASSERT(XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()) == XXH_OK);
  return *this;
}

ChecksumBytes Checksum::value() const { return canonical(XXH3_128bits_digest(state_->xxh)); }

std::string Checksum::hex() const { return hex_text(value()); }

ChecksumBytes checksum(std::string_view bytes) {
  return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string hex_text(const ChecksumBytes& value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string file_checksum(const std::string& path) {
  return hex_text(checksum(MappedFile(path).bytes()));
}

}  // namespace temper
