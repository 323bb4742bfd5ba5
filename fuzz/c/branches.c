/* Coverage of C code under libFuzzer.
 *
 * zstd is C, compiled with -fsanitize-coverage=trace-pc, which gcc and clang both know: each basic
 * block calls __sanitizer_cov_trace_pc. libFuzzer counts Rust's branches by other means and has no
 * use for that call, but it does read any counters found in the section below. The linker sends the
 * call here (--wrap), and here it becomes a counter.
 */
#include <stdint.h>

/* zstd's decoder has some three thousand basic blocks; few of them share a counter. */
#define COUNTERS (1u << 15)

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

#if defined(__clang__)
__attribute__((no_sanitize("coverage")))
#else
__attribute__((no_sanitize_coverage))
#endif
void __wrap___sanitizer_cov_trace_pc(void)
{
    /* Relative to ourselves: the same on every start. */
    uintptr_t block = (uintptr_t)__builtin_return_address(0) -
                      (uintptr_t)&__wrap___sanitizer_cov_trace_pc;
    counters[(uint32_t)(block * 2654435761u) >> 17]++;
}
