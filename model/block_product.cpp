#include "model/block_product.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <ATen/native/CPUBlas.h>
#include <c10/util/Exception.h>

namespace temper {

#if defined(CPUBLAS_BRGEMM_BF16BF16F32) && defined(__x86_64__)

bool has_block_products() {
  static const bool has = [] {
    const auto capabilities = at::cpu::get_cpu_capabilities();
    const auto found = capabilities.find("avx512_bf16");
    return found != capabilities.end() && found->second.isBool() && found->second.toBool() &&
           at::get_cpu_capability() == "AVX512" && at::globalContext().userEnabledMkldnn();
  }();
  return has;
}

void block_product(int64_t m, int64_t n, int64_t k, const c10::BFloat16* a, int64_t lda,
                   const c10::BFloat16* b, float* c, int64_t ldc, bool add) {
  at::native::cpublas::brgemm(m, n, k, lda, n, ldc, add, a, b, c, /*is_vnni=*/true);
}

void release_block_products() { at::native::cpublas::brgemm_release(); }

#else

bool has_block_products() { return false; }

void block_product(int64_t, int64_t, int64_t, const c10::BFloat16*, int64_t, const c10::BFloat16*,
                   float*, int64_t, bool) {
  TORCH_INTERNAL_ASSERT(false, "no block products in this build");
}

void release_block_products() {}

#endif

}  // namespace temper
