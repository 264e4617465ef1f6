// Stands in for cuda_backend.cc in a build without CUDA.
#include "intarsia/core/device.h"

namespace intarsia {

DeviceBackend* CudaBackendOrNull() { return nullptr; }

}  // namespace intarsia
