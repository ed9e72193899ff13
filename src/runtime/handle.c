/* A handle is one word: a module, and how many readers are about to take a reference to it.
 *
 *     word = readers << 48 | address
 *
 * The module's references are those that it counts itself, and the readers of all words that it is
 * in. A reader
 *   1. adds itself to the word, by which it learns the address: now the module cannot go;
 *   2. adds its reference to the module's count;
 *   3. takes itself out of the word again. If another module is there, or no reader is, then it was
 *      counted into the module's references when the module was replaced, and is taken off there.
 * Who replaces a module has a reference to it, adds the word's readers to its count before the word
 * changes, and afterwards gives the handle's own reference back. So nobody waits, and a process may
 * fork at any point. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "runtime/runtime_priv.h"

#define READER ((uint64_t)1 << 48)

struct urza_handle {
    _Atomic uint64_t word;
};

static struct urza_module *module_in(uint64_t word)
{
    return (struct urza_module *)(uintptr_t)(word & (READER - 1));
}

static uint64_t word_of(struct urza_module *module)
{
    return (uint64_t)(uintptr_t)module;
}

URZA_EXPORT int urza_handle_new(urza_module *module, urza_handle **out, urza_error *err)
{
    struct error e;
    if (!out)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (word_of(module) >= READER)
        return public_result(
            fail(&e, ERR_UNSUPPORTED, "addresses of this process have more than 48 bits"), &e, err);
    struct urza_handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        return public_result(fail(&e, ERR_NOMEM, "no memory for a handle"), &e, err);
    handle->word = word_of(urza_retain(module));
    *out = handle;
    return 0;
}

URZA_EXPORT void urza_handle_free(urza_handle *handle)
{
    if (!handle)
        return;
    urza_unload(module_in(handle->word));
    free(handle);
}

URZA_EXPORT urza_module *urza_handle_get(urza_handle *handle)
{
    if (module_in(atomic_load_explicit(&handle->word, memory_order_relaxed)) == NULL)
        return NULL;
    uint64_t word = atomic_fetch_add(&handle->word, READER) + READER;
    struct urza_module *module = module_in(word);
    if (module)
        atomic_fetch_add(&module->references, 1);
    do {
        if (module_in(word) == module && word >= READER)
            continue;
        if (module)
            atomic_fetch_sub(&module->references, 1); /* never the last one */
        return module;
    } while (!atomic_compare_exchange_weak(&handle->word, &word, word - READER));
    return module;
}

static bool fits_tensors(const urza_tensor_info *old, uint32_t old_count,
                         const urza_tensor_info *new, uint32_t new_count, const char *what,
                         struct error *err)
{
    if (old_count != new_count)
        return fail(err, ERR_INPUT, "the module has %u %ss, the one in the handle %u", new_count,
                    what, old_count);
    for (uint32_t i = 0; i < old_count; i++) {
        bool same = strcmp(old[i].name, new[i].name) == 0 &&
                    old[i].rank ==
                        new[i].rank &&memcmp(&old[i].dtype, &new[i].dtype, sizeof old[i].dtype) ==
                        0;
        for (int32_t d = 0; same && d < old[i].rank; d++)
            same = strcmp(old[i].dim_text[d], new[i].dim_text[d]) == 0;
        if (!same) {
            fail(err, ERR_INPUT, "%s %u has another name, dtype or shape in the handle", what, i);
            return fail_at(err, "%s '%s'", what, new[i].name);
        }
    }
    return true;
}

static const urza_dim_info *find_dim(const struct urza_module *module, const char *name)
{
    for (uint32_t i = 0; i < urza_dim_count(module); i++)
        if (strcmp(module->dim_infos[i].name, name) == 0)
            return &module->dim_infos[i];
    return NULL;
}

/* Whether calls that `old` takes are such that `new` takes them. */
static bool fits(const struct urza_module *old, const struct urza_module *new, struct error *err)
{
    if (!fits_tensors(old->inputs, urza_input_count(old), new->inputs, urza_input_count(new),
                      "input", err) ||
        !fits_tensors(old->outputs, urza_output_count(old), new->outputs, urza_output_count(new),
                      "output", err))
        return false;
    for (uint32_t i = 0; i < urza_dim_count(old); i++) {
        const urza_dim_info *is = &old->dim_infos[i], *to = find_dim(new, is->name);
        if (to && to->min <= is->min && to->max >= is->max &&
            is->multiple_of % to->multiple_of == 0)
            continue;
        fail(err, ERR_INPUT, "the module takes fewer sizes than the one in the handle");
        return fail_at(err, "dim '%s'", is->name);
    }
    return true;
}

/* The word while its module is `old`, to which the caller has a reference; false: it is not. */
static bool word_while(struct urza_handle *handle, const struct urza_module *old, uint64_t *out)
{
    *out = atomic_load(&handle->word);
    return module_in(*out) == old;
}

/* Puts `new` in the place of `old`; false: another one is there. */
static bool swap(struct urza_handle *handle, struct urza_module *old, struct urza_module *new)
{
    uint64_t word;
    while (word_while(handle, old, &word)) {
        uint32_t readers = (uint32_t)(word >> 48);
        if (old)
            atomic_fetch_add(&old->references, readers);
        if (atomic_compare_exchange_strong(&handle->word, &word, word_of(new)))
            return true;
        if (old)
            atomic_fetch_sub(&old->references, readers); /* not the last: the caller has one */
    }
    return false;
}

URZA_EXPORT int urza_handle_replace(urza_handle *handle, urza_module *module, urza_error *err)
{
    struct error e;
    if (!handle)
        return public_result(fail(&e, ERR_USAGE, "the handle is NULL"), &e, err);
    if (word_of(module) >= READER)
        return public_result(
            fail(&e, ERR_UNSUPPORTED, "addresses of this process have more than 48 bits"), &e, err);
    for (bool done = false, ok = true; ok && !done;) {
        struct urza_module *old = urza_handle_get(handle);
        ok = !old || !module || fits(old, module, &e);
        if (ok)
            urza_retain(module);
        done = ok && swap(handle, old, module);
        if (ok)
            urza_unload(done ? old : module); /* the handle's reference, or what it did not take */
        urza_unload(old);
        if (!ok)
            return public_result(false, &e, err);
    }
    return 0;
}

URZA_EXPORT int urza_handle_call(urza_handle *handle, const DLTensor *inputs, uint32_t input_count,
                                 DLTensor *outputs, uint32_t output_count, urza_result **hold,
                                 urza_error *err)
{
    struct error e;
    struct urza_module *module = handle ? urza_handle_get(handle) : NULL;
    if (!handle)
        return public_result(fail(&e, ERR_USAGE, "the handle is NULL"), &e, err);
    if (!module)
        return public_result(fail(&e, ERR_NOT_FOUND, "the handle is empty"), &e, err);
    int code = urza_call(module, inputs, input_count, outputs, output_count, hold, err);
    urza_unload(module);
    return code;
}
