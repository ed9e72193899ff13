/* Blocks: alignment at all sizes, and that large ones ask for large pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/parts_priv.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define MIB ((size_t)1 << 20)

/* Whether the mapping that an address is in has a flag (proc(5): smaps). */
static bool has_flag(const void *address, const char *flag)
{
    char line[4096];
    bool inside = false, found = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        uintptr_t begin, end;
        if (sscanf(line, "%zx-%zx ", &begin, &end) == 2)
            inside = begin <= (uintptr_t)address && (uintptr_t)address < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    fclose(maps);
    return found;
}

static void blocks_are_aligned(void **state)
{
    static const size_t sizes[] = {0, 1, 64, 65, 4096, MIB, 4 * MIB - 1, 4 * MIB, 9 * MIB + 1};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *block = block_new(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % BLOCK_ALIGN, 0);
        memset(block, 1, sizes[i]);
        free(block);
    }
    assert_null(block_new(SIZE_MAX));
    assert_null(block_new(INT64_MAX));
}

static void large_blocks_have_large_pages(void **state)
{
    (void)state;
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) {
        print_message("the system has no transparent huge pages\n");
        skip();
    }
    char *small = block_new(64 << 10), *large = block_new(16 * MIB);
    assert_true(small && large);
    small[0] = large[0] = 1;
    assert_true(has_flag(large + 8 * MIB, " hg"));
    assert_false(has_flag(small, " hg"));
    free(small);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned),
        cmocka_unit_test(large_blocks_have_large_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
