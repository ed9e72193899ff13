/* An ELF object becomes a flat image: the allocated sections one behind the other, every relocation
 * resolved now. References among kernels and constants are relative to the program counter, so the
 * image runs wherever it is mapped. Anything that would need work at load time (an import, an
 * absolute address) is an error here. */
#include <elf.h>

#include "base/error.h"
#include "compiler/codegen/codegen_priv.h"

#include <stdio.h>
#include <stdlib.h>

struct object {
    const uint8_t *bytes;
    const Elf64_Ehdr *header;
    const Elf64_Shdr *sections;
    const char *names;
    uint64_t *placed; /* offset of each section in the image; UINT64_MAX: not in it */
};

static bool wanted(const struct object *o, const Elf64_Shdr *s)
{
    const char *name = o->names + s->sh_name;
    return (s->sh_flags & SHF_ALLOC) && s->sh_size > 0 && strncmp(name, ".eh_frame", 9) != 0;
}

static bool place_sections(struct object *o, size_t *out_size, struct error *err)
{
    size_t size = 0;
    for (int pass = 0; pass < 2; pass++) { /* code first, then constants */
        for (uint32_t i = 0; i < o->header->e_shnum; i++) {
            const Elf64_Shdr *s = &o->sections[i];
            bool code = s->sh_flags & SHF_EXECINSTR;
            if (!wanted(o, s) || code != (pass == 0))
                continue;
            if (s->sh_flags & SHF_WRITE)
                return fail(err, ERR_COMPILE, "generated code has writable data: section '%s'",
                            o->names + s->sh_name);
            size_t align = pass == 0              ? 64
                           : s->sh_addralign > 64 ? 64
                           : s->sh_addralign      ? s->sh_addralign
                                                  : 1;
            size = (size + align - 1) / align * align;
            o->placed[i] = size;
            size += s->sh_size;
        }
    }
    *out_size = size;
    return true;
}

static const Elf64_Sym *symbols_of(const struct object *o, const Elf64_Shdr *relocations,
                                   const char **out_names)
{
    const Elf64_Shdr *table = &o->sections[relocations->sh_link];
    *out_names = (const char *)(o->bytes + o->sections[table->sh_link].sh_offset);
    return (const Elf64_Sym *)(o->bytes + table->sh_offset);
}

static bool relocate(const struct object *o, const Elf64_Shdr *section, uint8_t *image,
                     struct error *err)
{
    const char *names;
    const Elf64_Sym *symbols = symbols_of(o, section, &names);
    const Elf64_Rela *rela = (const Elf64_Rela *)(o->bytes + section->sh_offset);
    uint64_t base = o->placed[section->sh_info];
    for (size_t i = 0; i < section->sh_size / sizeof *rela; i++) {
        const Elf64_Sym *symbol = &symbols[ELF64_R_SYM(rela[i].r_info)];
        uint32_t type = (uint32_t)ELF64_R_TYPE(rela[i].r_info);
        if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= o->header->e_shnum)
            return fail(err, ERR_COMPILE, "generated code needs the symbol '%s'",
                        names + symbol->st_name);
        uint64_t target = o->placed[symbol->st_shndx];
        if ((type != R_X86_64_PC32 && type != R_X86_64_PLT32) || target == UINT64_MAX)
            return fail(err, ERR_COMPILE, "generated code has a relocation of type %u", type);
        uint64_t place = base + rela[i].r_offset;
        int64_t value = (int64_t)(target + symbol->st_value) + rela[i].r_addend - (int64_t)place;
        int32_t narrow = (int32_t)value;
        assert(narrow == value);
        memcpy(image + place, &narrow, sizeof narrow);
    }
    return true;
}

static bool find_kernels(const struct object *o, uint32_t count, uint32_t *offsets,
                         struct error *err)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < o->header->e_shnum; i++) {
        if (o->sections[i].sh_type != SHT_SYMTAB)
            continue;
        const char *names =
            (const char *)(o->bytes + o->sections[o->sections[i].sh_link].sh_offset);
        const Elf64_Sym *symbols = (const Elf64_Sym *)(o->bytes + o->sections[i].sh_offset);
        for (size_t s = 0; s < o->sections[i].sh_size / sizeof *symbols; s++) {
            const char *name = names + symbols[s].st_name;
            if (strncmp(name, "kernel_", 7) != 0 || symbols[s].st_shndx >= o->header->e_shnum)
                continue;
            uint32_t kernel = (uint32_t)strtoul(name + 7, NULL, 10);
            assert(kernel < count);
            offsets[kernel] = (uint32_t)(o->placed[symbols[s].st_shndx] + symbols[s].st_value);
            found++;
        }
    }
    return found == count || fail(err, ERR_BUG, "%u of %u kernels in the object", found, count);
}

bool image_from_object(const void *object, size_t size, uint32_t kernel_count, struct arena *arena,
                       struct code_image *out, struct error *err)
{
    /* The object comes from LLVM in this process: well-formed by contract. A copy gives it
     * alignment. */
    struct object o = {.bytes = arena_memdup(arena, object, size)};
    o.header = (const Elf64_Ehdr *)(const void *)o.bytes;
    o.sections = (const Elf64_Shdr *)(const void *)(o.bytes + o.header->e_shoff);
    o.names = (const char *)o.bytes + o.sections[o.header->e_shstrndx].sh_offset;
    o.placed = ARENA_ARRAY(arena, uint64_t, o.header->e_shnum);
    memset(o.placed, 0xff, o.header->e_shnum * sizeof *o.placed);
    size_t image_size = 0;
    if (!place_sections(&o, &image_size, err))
        return false;
    uint8_t *image = arena_alloc(arena, image_size, 64);
    for (uint32_t i = 0; i < o.header->e_shnum; i++)
        if (o.placed[i] != UINT64_MAX)
            memcpy(image + o.placed[i], o.bytes + o.sections[i].sh_offset, o.sections[i].sh_size);
    for (uint32_t i = 0; i < o.header->e_shnum; i++) {
        const Elf64_Shdr *s = &o.sections[i];
        if (s->sh_type == SHT_RELA && o.placed[s->sh_info] != UINT64_MAX &&
            !relocate(&o, s, image, err))
            return false;
    }
    out->bytes = image;
    out->size_bytes = image_size;
    out->kernel_offsets = ARENA_ARRAY(arena, uint32_t, kernel_count);
    return find_kernels(&o, kernel_count, out->kernel_offsets, err);
}
