// Hands each fuzzer's main to libFuzzer: SwiftPM makes `main` an alias of `<Module>_main`, so
// libFuzzer's own is never linked.

#include "driver.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);
int LLVMFuzzerRunDriver(
    int *count, char ***arguments, int (*test)(const uint8_t *data, size_t count));

#define WEIR_FUZZER(module)                                                     \
    int module##_main(int count, char **arguments);                             \
    int module##_main(int count, char **arguments) {                            \
        return LLVMFuzzerRunDriver(&count, &arguments, LLVMFuzzerTestOneInput); \
    }

WEIR_FUZZER(FuzzRequest)
WEIR_FUZZER(FuzzResponse)
WEIR_FUZZER(FuzzChunked)
WEIR_FUZZER(FuzzConfig)
WEIR_FUZZER(FuzzProxy)
WEIR_FUZZER(FuzzHttp2)
WEIR_FUZZER(FuzzTls)
