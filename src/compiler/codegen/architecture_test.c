/* Relocations, by hand-encoded instructions of the manuals, of families that this machine need not
 * be. Distances are taken from the instruction that counts. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "compiler/codegen/architecture.h"
#include <cmocka.h>
#undef fail /* ours is a function */

#define AUIPC_A4 0x00000717u
#define ADDI_A4 0x00070713u /* addi a4, a4, 0 */
#define FLW_FA4 0x00072707u /* flw fa4, 0(a4) */
#define SD_A0 0x00a73023u   /* sd a0, 0(a4) */

static void relocate_one(const char *family, uint32_t word, uint32_t type, int64_t distance,
                         uint32_t want)
{
    struct error err = {0};
    const struct relocation one = {(uint8_t *)&word, type, distance};
    const struct relocations all = {&one, 1};
    assert_true(architecture_find(family)->relocate(&all, 0, &err));
    assert_int_equal(word, want);
}

static void fails(const char *family, uint32_t type, int64_t distance, enum error_code code)
{
    struct error err = {0};
    uint32_t word = 0;
    const struct relocation one = {(uint8_t *)&word, type, distance};
    const struct relocations all = {&one, 1};
    assert_false(architecture_find(family)->relocate(&all, 0, &err));
    assert_int_equal(err.code, code);
}

static void every_family_has_a_driver(void **state)
{
    (void)state;
    for (size_t i = 0; architecture_at(i); i++) {
        assert_ptr_equal(architecture_find(architecture_at(i)->family), architecture_at(i));
        fails(architecture_at(i)->family, 0xffff, 0, ERR_COMPILE);
    }
    assert_null(architecture_find("z80"));
}

static void distances_of_one_instruction(void **state)
{
    (void)state;
    relocate_one("x86-64", 0, R_X86_64_PC32, -4, 0xfffffffc);
    fails("x86-64", R_X86_64_PC32, INT64_C(1) << 31, ERR_COMPILE);
    relocate_one("aarch64", 0x9c000000, R_AARCH64_LD_PREL_LO19, 16, 0x9c000080); /* ldr q0 */
    relocate_one("aarch64", 0x10000000, R_AARCH64_ADR_PREL_LO21, 5, 0x30000020); /* adr x0 */
    relocate_one("aarch64", 0x10000000, R_AARCH64_ADR_PREL_LO21, -1, 0x70ffffe0);
    fails("aarch64", R_AARCH64_LD_PREL_LO19, 18, ERR_COMPILE);
    fails("aarch64", R_AARCH64_ADR_PREL_LO21, 1 << 20, ERR_COMPILE);
}

/* AUIPC and the instructions that complete it, wherever they stand: some before it. */
static void distances_of_two_instructions(void **state)
{
    (void)state;
    static const struct {
        int64_t distance;
        uint32_t auipc, addi, flw, sd;
    } cases[] = {
        {0x10, 0x00000717, 0x01070713, 0x01072707, 0x00a73823},
        {-2, 0x00000717, 0xffe70713, 0xffe72707, 0xfea73f23},
        {0x800, 0x00001717, 0x80070713, 0x80072707, 0x80a73023},
        {0x12345fff, 0x12346717, 0xfff70713, 0xfff72707, 0xfea73fa3},
        {INT32_MIN, 0x80000717, 0x00070713, 0x00072707, 0x00a73023},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t code[4] = {ADDI_A4, AUIPC_A4, FLW_FA4, SD_A0};
        uint8_t *at = (uint8_t *)code;
        struct error err = {0};
        const struct relocation items[] = {
            {at, R_RISCV_PCREL_LO12_I, 4},
            {at + 4, R_RISCV_PCREL_HI20, cases[i].distance},
            {at + 8, R_RISCV_PCREL_LO12_I, -4},
            {at + 12, R_RISCV_PCREL_LO12_S, -8},
        };
        const struct relocations all = {items, 4};
        for (size_t k = 0; k < 4; k++)
            assert_true(architecture_find("riscv64")->relocate(&all, k, &err));
        assert_int_equal(code[0], cases[i].addi);
        assert_int_equal(code[1], cases[i].auipc);
        assert_int_equal(code[2], cases[i].flw);
        assert_int_equal(code[3], cases[i].sd);
    }
    fails("riscv64", R_RISCV_PCREL_LO12_I, -4, ERR_BUG);
    fails("riscv64", R_RISCV_PCREL_HI20, INT32_MAX, ERR_COMPILE);
    fails("riscv64", R_RISCV_PCREL_HI20, (int64_t)INT32_MIN - 0x801, ERR_COMPILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_has_a_driver),
        cmocka_unit_test(distances_of_one_instruction),
        cmocka_unit_test(distances_of_two_instructions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
