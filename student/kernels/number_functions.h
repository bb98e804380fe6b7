// What the formulas of divergence_terms.h are made of, for single numbers, on processors and GPUs.
#pragma once

#include <cmath>

#if defined(__CUDACC__)
#define TEMPER_HOST_DEVICE __host__ __device__
#else
#define TEMPER_HOST_DEVICE
#endif

namespace temper {
inline namespace CPU_CAPABILITY {

TEMPER_HOST_DEVICE inline double where_positive(double condition, double value) {
  return condition > 0 ? value : 0.0;
}
TEMPER_HOST_DEVICE inline double log_of(double x) { return ::log(x); }
TEMPER_HOST_DEVICE inline double at_least(double x, double least) { return x > least ? x : least; }
TEMPER_HOST_DEVICE inline double sign_of(double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0; }
TEMPER_HOST_DEVICE inline double magnitude(double x) { return ::fabs(x); }

#if defined(__CUDACC__)
__device__ inline float where_positive(float condition, float value) {
  return condition > 0 ? value : 0.0F;
}
__device__ inline float log_of(float x) { return ::logf(x); }
__device__ inline float at_least(float x, double least) {
  return ::fmaxf(x, static_cast<float>(least));
}
__device__ inline float sign_of(float x) { return x > 0 ? 1.0F : x < 0 ? -1.0F : 0.0F; }
__device__ inline float magnitude(float x) { return ::fabsf(x); }
#endif

}  // namespace CPU_CAPABILITY
}  // namespace temper
