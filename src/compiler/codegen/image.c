/* From an ELF object to a flat image: the allocated sections are concatenated and every relocation
 * is resolved now. References from code to constants are relative to the program counter, so the
 * image runs wherever it is mapped. Anything that would need work at load time (an import, an
 * absolute address) is an error. */
#include <elf.h>

#include "base/error.h"
#include "compiler/codegen/codegen_priv.h"

#include <stdio.h>

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

/* Of one section, whose places are in the image. */
static bool read_relocations(const struct object *o, const Elf64_Shdr *section, uint8_t *image,
                             struct relocation *out, struct error *err)
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
        if (target == UINT64_MAX)
            return fail(err, ERR_COMPILE, "generated code refers to what is not loaded");
        uint64_t place = base + rela[i].r_offset;
        out[i] = (struct relocation){image + place, type,
                                     (int64_t)(target + symbol->st_value) + rela[i].r_addend -
                                         (int64_t)place};
    }
    return true;
}

static bool relocate(const struct object *o, const Elf64_Shdr *section,
                     const struct architecture *architecture, struct arena *arena, uint8_t *image,
                     struct error *err)
{
    size_t count = section->sh_size / sizeof(Elf64_Rela);
    struct relocation *items = ARENA_ARRAY(arena, struct relocation, count + 1);
    const struct relocations all = {items, count};
    if (!read_relocations(o, section, image, items, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!architecture->relocate(&all, i, err))
            return false;
    return true;
}

/* The kernel is the only function with a symbol: all others of the module are private. */
static bool find_entry(const struct object *o, uint64_t *out, struct error *err)
{
    for (uint32_t i = 0; i < o->header->e_shnum; i++) {
        if (o->sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = (const Elf64_Sym *)(o->bytes + o->sections[i].sh_offset);
        for (size_t s = 0; s < o->sections[i].sh_size / sizeof *symbols; s++) {
            if (ELF64_ST_TYPE(symbols[s].st_info) != STT_FUNC ||
                symbols[s].st_shndx >= o->header->e_shnum)
                continue;
            *out = o->placed[symbols[s].st_shndx] + symbols[s].st_value;
            return true;
        }
    }
    return fail(err, ERR_BUG, "no kernel in the object");
}

bool image_from_object(const void *object, size_t size, const struct architecture *architecture,
                       struct arena *arena, struct kernel_image *out, struct error *err)
{
    /* The object comes from LLVM in this process, so it is well-formed. It is copied because its
     * sections must be aligned. */
    struct object o = {.bytes = arena_memdup(arena, object, size)};
    o.header = (const Elf64_Ehdr *)(const void *)o.bytes;
    o.sections = (const Elf64_Shdr *)(const void *)(o.bytes + o.header->e_shoff);
    o.names = (const char *)o.bytes + o.sections[o.header->e_shstrndx].sh_offset;
    o.placed = ARENA_ARRAY(arena, uint64_t, o.header->e_shnum);
    memset(o.placed, 0xff, o.header->e_shnum * sizeof *o.placed);
    struct kernel_image image = {0};
    if (!place_sections(&o, &image.size_bytes, err) || !find_entry(&o, &image.entry, err))
        return false;
    uint8_t *bytes = arena_alloc(arena, image.size_bytes, 64);
    for (uint32_t i = 0; i < o.header->e_shnum; i++)
        if (o.placed[i] != UINT64_MAX)
            memcpy(bytes + o.placed[i], o.bytes + o.sections[i].sh_offset, o.sections[i].sh_size);
    for (uint32_t i = 0; i < o.header->e_shnum; i++) {
        const Elf64_Shdr *s = &o.sections[i];
        if (s->sh_type == SHT_RELA && o.placed[s->sh_info] != UINT64_MAX &&
            !relocate(&o, s, architecture, arena, bytes, err))
            return false;
    }
    image.bytes = bytes;
    *out = image;
    return true;
}
