// Where each instruction set's encode kernels are defined: encode_avx2.cc and the like. encode_kernels() chooses.
#pragma once

#include "octavo/backend/cpu/encode.h"

namespace octavo::cpu {

namespace scalar {
EncodeKernels encode_kernels();
}
#if defined(__x86_64__)
namespace avx2 {
EncodeKernels encode_kernels();
}
namespace avx512 {
EncodeKernels encode_kernels();
}
#endif

}  // namespace octavo::cpu
