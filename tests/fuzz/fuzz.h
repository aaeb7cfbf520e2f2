/* fuzz.h - what libFuzzer calls, and replay.c. */
#ifndef SKEIN_TESTS_FUZZ_H
#define SKEIN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#endif
