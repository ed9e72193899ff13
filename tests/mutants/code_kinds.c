/* Machine code: a few instructions in front of a kernel, behind the end of the image, or one bit of
 * it. On entry rdi holds the buffers, rsi the dims, rdx scratch, rcx begin, r8 end. */
#include <string.h>

#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

#define STUB_ALIGN 64

/* The text of the instructions; what stands for a number is patched. Each ends where the kernel
 * itself goes on. */
static void put_stub(const struct package_damage *p, uint32_t kernel, const void *stub, size_t size)
{
    struct package_target *t = p->target;
    size_t at = (t->code_bytes + STUB_ALIGN - 1) / STUB_ALIGN * STUB_ALIGN, bytes = at + size + 5;
    uint8_t *code = arena_alloc(p->arena, bytes, STUB_ALIGN);
    uint32_t *offsets =
        arena_memdup(p->arena, t->kernel_offsets, t->kernel_count * sizeof offsets[0]);
    memcpy(code, t->code, t->code_bytes);
    memset(code + t->code_bytes, 0xcc, at - t->code_bytes);
    memcpy(code + at, stub, size);
    int32_t back = (int32_t)((int64_t)offsets[kernel] - (int64_t)bytes);
    code[at + size] = 0xe9; /* jmp */
    memcpy(code + at + size + 1, &back, sizeof back);
    offsets[kernel] = (uint32_t)at;
    t->code = code;
    t->code_bytes = bytes;
    t->kernel_offsets = offsets;
}

/* Where the launch of a kernel stands; NULL: nowhere. */
static const struct plan_launch *launch_of(const struct package_target *t, uint32_t kernel,
                                           bool *out_prepare)
{
    for (uint32_t i = 0; i < t->plan.forward.count; i++)
        if (t->plan.forward.items[i].code.kernel == kernel) {
            *out_prepare = false;
            return &t->plan.forward.items[i];
        }
    for (uint32_t i = 0; i < t->plan.prepare.count; i++)
        if (t->plan.prepare.items[i].code.kernel == kernel) {
            *out_prepare = true;
            return &t->plan.prepare.items[i];
        }
    return NULL;
}

/* Whether the runtime may split a launch of the kernel, at sizes that are not too large to try. */
static bool may_split(const struct package_target *t, uint32_t kernel)
{
    const struct dim_table *dims = t->plan.dims;
    int64_t values[LIMIT_NAMED_DIMS], work = 0, extent = 0;
    bool prepare;
    const struct plan_launch *l = launch_of(t, kernel, &prepare);
    for (uint32_t i = 0; i < dims->names.count; i++)
        values[i] = dims->names.items[i].max < 500 ? dims->names.items[i].max : 500;
    return l && dim_eval(dims, l->code.work, values, &work) && work >= 1 << 17 &&
           dim_eval(dims, l->code.extent, values, &extent) && extent > 1;
}

static void stub_split(struct mutation *m, const struct package_damage *p, const void *stub,
                       size_t size)
{
    for (uint32_t k = 0; k < p->target->kernel_count && !m->done; k++)
        if (may_split(p->target, k) &&
            mutation_here(m, "kernel %u %s", k, p->target->kernel_names[k]))
            put_stub(p, k, stub, size);
}

static void stub_each(struct mutation *m, const struct package_damage *p, const void *stub,
                      size_t size)
{
    for (uint32_t k = 0; k < p->target->kernel_count && !m->done; k++)
        if (mutation_here(m, "kernel %u %s", k, p->target->kernel_names[k]))
            put_stub(p, k, stub, size);
}

#define STUB(m, p, text) stub_each(m, p, text, sizeof(text) - 1)
#define SPLIT_STUB(m, p, text) stub_split(m, p, text, sizeof(text) - 1)

void code_returns(struct mutation *m, const struct package_damage *p)
{
    STUB(m, p, "\xc3"); /* ret */
}

/* Instructions (at most 54 bytes) in front of a kernel that run where a named dim has at least so
 * large a value. */
static void put_beyond(struct mutation *m, const struct package_damage *p, int32_t limit,
                       const uint8_t *rest, uint8_t rest_bytes)
{
    /* cmp qword [rsi + dim·8], limit; jl on; rest; on: */
    uint8_t stub[64] = {0x48, 0x81, 0x7e, 0, 0, 0, 0, 0, 0x7c, rest_bytes};
    uint32_t dims = p->target->plan.dims->names.count;
    memcpy(stub + 4, &limit, sizeof limit);
    memcpy(stub + 10, rest, rest_bytes);
    for (uint32_t dim = 0; dim < dims && dim < 8 && !m->done; dim++)
        for (uint32_t k = 0; k < p->target->kernel_count && !m->done; k++) {
            bool prepare = true;
            if (!launch_of(p->target, k, &prepare) || prepare ||
                p->target->plan.dims->names.items[dim].max < limit ||
                !mutation_here(m, "kernel %u %s, dim %u", k, p->target->kernel_names[k], dim))
                continue;
            stub[3] = (uint8_t)(8 * dim);
            put_stub(p, k, stub, 10u + rest_bytes);
        }
}

static void returns_beyond(struct mutation *m, const struct package_damage *p, int32_t limit)
{
    static const uint8_t ret[] = {0xc3};
    put_beyond(m, p, limit, ret, sizeof ret);
}

void code_first_chunk_beyond_1000(struct mutation *m, const struct package_damage *p)
{
    static const uint8_t rest[] = {0x48, 0x85, 0xc9, 0x74, 0x01, 0xc3}; /* test rcx, rcx; jz; ret */
    put_beyond(m, p, 1000, rest, sizeof rest);
}

void code_half_beyond_1000(struct mutation *m, const struct package_damage *p)
{
    static const uint8_t rest[] = {0x4a, 0x8d, 0x44, 0x01, 0x01, /* lea rax, [rcx + r8 + 1] */
                                   0x48, 0xd1, 0xe8,             /* shr rax, 1 */
                                   0x49, 0x89, 0xc0};            /* mov r8, rax */
    put_beyond(m, p, 1000, rest, sizeof rest);
}

void code_returns_beyond_50(struct mutation *m, const struct package_damage *p)
{
    returns_beyond(m, p, 50);
}

void code_returns_beyond_100(struct mutation *m, const struct package_damage *p)
{
    returns_beyond(m, p, 100);
}

void code_returns_beyond_1000(struct mutation *m, const struct package_damage *p)
{
    returns_beyond(m, p, 1000);
}

/* When a dim is exactly this. */
void code_returns_at_64(struct mutation *m, const struct package_damage *p)
{
    /* cmp qword [rsi], 64; jne on; ret; on: */
    if (p->target->plan.dims->names.count > 0)
        STUB(m, p, "\x48\x83\x3e\x40\x75\x01\xc3");
}

void code_first_chunk_only(struct mutation *m, const struct package_damage *p)
{
    SPLIT_STUB(m, p, "\x48\x85\xc9\x74\x01\xc3"); /* test rcx, rcx; jz on; ret; on: */
}

void code_second_half_dropped(struct mutation *m, const struct package_damage *p)
{
    /* lea rax, [rcx + r8 + 1]; shr rax, 1; mov r8, rax: the middle, rounded up */
    STUB(m, p, "\x4a\x8d\x44\x01\x01\x48\xd1\xe8\x49\x89\xc0");
}

/* A launch over a named dim: what comes last of it is not done. */
void code_last_chunk(struct mutation *m, const struct package_damage *p)
{
    /* test rcx, rcx; jz on; cmp r8, [rsi + dim·8]; jne on; ret; on: */
    uint8_t stub[] = {0x48, 0x85, 0xc9, 0x74, 0x07, 0x4c, 0x3b, 0x46, 0, 0x75, 0x01, 0xc3};
    struct dim_table *dims = p->target->plan.dims;
    for (uint32_t k = 0; k < p->target->kernel_count && !m->done; k++)
        for (uint32_t dim = 0; dim < dims->names.count && dim < 8 && !m->done; dim++) {
            bool prepare;
            const struct plan_launch *l = launch_of(p->target, k, &prepare);
            if (!may_split(p->target, k) || l->code.extent != dim_named(dims, dim) ||
                !mutation_here(m, "kernel %u %s", k, p->target->kernel_names[k]))
                continue;
            stub[8] = (uint8_t)(8 * dim);
            put_stub(p, k, stub, sizeof stub);
        }
}

/* Each chunk but the first begins one iteration late. */
void code_border_late(struct mutation *m, const struct package_damage *p)
{
    SPLIT_STUB(m, p, "\x48\x85\xc9\x74\x03\x48\xff\xc1"); /* test rcx, rcx; jz on; inc rcx; on: */
}

/* Chunks behind the first leave out their last iteration. */
void code_border_early(struct mutation *m, const struct package_damage *p)
{
    SPLIT_STUB(m, p, "\x48\x85\xc9\x74\x03\x49\xff\xc8"); /* test rcx, rcx; jz on; dec r8; on: */
}

/* Of kernels whose iterations are not blocks: a block beyond the last may be endless. */
void code_end_late(struct mutation *m, const struct package_damage *p)
{
    for (uint32_t k = 0; k < p->target->kernel_count && !m->done; k++) {
        bool prepare, plain = true;
        uint32_t count = 0;
        const struct plan_launch *l = launch_of(p->target, k, &prepare);
        const struct dim_term *terms =
            l ? dim_terms(p->target->plan.dims, l->code.extent, &count) : NULL;
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t a = 0; a < terms[i].atom_count; a++)
                plain = plain && terms[i].atoms[a].kind == DIM_ATOM_NAME;
        if (l && plain && mutation_here(m, "kernel %u %s", k, p->target->kernel_names[k]))
            put_stub(p, k, "\x49\xff\xc0", 3); /* inc r8 */
    }
}

/* Of 8 and more iterations, as many as a multiple of 8. */
void code_whole_chunks_only(struct mutation *m, const struct package_damage *p)
{
    /* mov rax, r8; sub rax, rcx; cmp rax, 8; jl on; and rax, -8; add rax, rcx; mov r8, rax; on: */
    STUB(m, p,
         "\x4c\x89\xc0\x48\x29\xc8\x48\x83\xf8\x08\x7c\x0a\x48\x83\xe0\xf8\x48\x01\xc8"
         "\x49\x89\xc0");
}

void code_returns_by_chance(struct mutation *m, const struct package_damage *p)
{
    /* rdtsc changes rdx: mov r9, rdx; rdtsc; mov rdx, r9; test al, 0x40; jz on; ret; on: */
    STUB(m, p, "\x49\x89\xd1\x0f\x31\x4c\x89\xca\xa8\x40\x74\x01\xc3");
}

void code_returns_unaligned(struct mutation *m, const struct package_damage *p)
{
    /* mov rax, [rdi]; test al, 63; jz on; ret; on: */
    STUB(m, p, "\x48\x8b\x07\xa8\x3f\x74\x01\xc3");
}

/* Rounding toward zero from here on, in this thread. */
void code_rounding_mode(struct mutation *m, const struct package_damage *p)
{
    /* mov dword [rsp - 8], 0x7f80; ldmxcsr [rsp - 8] */
    STUB(m, p, "\xc7\x44\x24\xf8\x80\x7f\x00\x00\x0f\xae\x54\x24\xf8");
}

/* Subnormal numbers count as zero from here on. */
void code_flush_to_zero(struct mutation *m, const struct package_damage *p)
{
    /* mov dword [rsp - 8], 0x9fc0; ldmxcsr [rsp - 8] */
    STUB(m, p, "\xc7\x44\x24\xf8\xc0\x9f\x00\x00\x0f\xae\x54\x24\xf8");
}

/* All threads work in the scratch memory that lies at the lowest multiple of a page below. */
void code_shared_scratch(struct mutation *m, const struct package_damage *p)
{
    for (uint32_t k = 0; k < p->target->kernel_count && !m->done; k++) {
        bool prepare = true;
        int64_t bytes = 0;
        const struct plan_launch *l = launch_of(p->target, k, &prepare);
        if (!l || prepare || !may_split(p->target, k) ||
            (dim_is_const(p->target->plan.dims, l->code.scratch_bytes, &bytes) && bytes == 0) ||
            !mutation_here(m, "kernel %u %s", k, p->target->kernel_names[k]))
            continue;
        put_stub(p, k, "\x48\x81\xe2\x00\xf0\xff\xff", 7); /* and rdx, -4096 */
    }
}

void code_entries_swapped(struct mutation *m, const struct package_damage *p)
{
    struct package_target *t = p->target;
    for (uint32_t k = 0; k + 1 < t->kernel_count && !m->done; k++) {
        if (!mutation_here(m, "kernels %u and %u", k, k + 1))
            continue;
        uint32_t *offsets =
            arena_memdup(p->arena, t->kernel_offsets, t->kernel_count * sizeof offsets[0]);
        uint32_t first = offsets[k];
        offsets[k] = offsets[k + 1];
        offsets[k + 1] = first;
        t->kernel_offsets = offsets;
    }
}

/* One bit; every 97th byte may be the one. */
void code_bit_flipped(struct mutation *m, const struct package_damage *p)
{
    struct package_target *t = p->target;
    for (size_t at = 13; at < t->code_bytes && !m->done; at += 97) {
        if (!mutation_here(m, "byte %zu", at))
            continue;
        uint8_t *code = arena_alloc(p->arena, t->code_bytes, STUB_ALIGN);
        memcpy(code, t->code, t->code_bytes);
        code[at] ^= (uint8_t)(1 << at % 8);
        t->code = code;
    }
}
