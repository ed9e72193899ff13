/* Helpers of the tests of this folder: reading texts that must be valid, or must give an error. */
#ifndef URZA_COMPILER_IMPORT_IMPORT_TEST_UTIL_H
#define URZA_COMPILER_IMPORT_IMPORT_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* cmocka defines it as a macro; ours is a function */

#include "base/strbuf.h"
#include "compiler/import/import_priv.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static const struct import_options test_options = {.seed = 7};

/* Reads text, which must be valid; the graph must verify. */
static inline struct blueprint must_read_with(struct arena *arena, const char *text,
                                              const struct import_options *options)
{
    struct error err = {0};
    struct blueprint blueprint;
    if (!blueprint_read(text, strlen(text), options, arena, &blueprint, &err))
        TEST_FAILED("%s: %s: %s\n%s", error_name(err.code), err.place, err.message, text);
    if (!graph_verify(&blueprint.graph, &err))
        TEST_FAILED("%s: %s\n%s", err.place, err.message, text);
    return blueprint;
}

static inline struct blueprint must_read(struct arena *arena, const char *text)
{
    return must_read_with(arena, text, &test_options);
}

/* Reading text must fail with this code at exactly this place, with a message that contains
 * part. */
static inline void must_refuse(const char *text, enum error_code code, const char *place,
                               const char *part)
{
    struct error err = {0};
    struct blueprint blueprint = {.json = "untouched"};
    struct arena arena;
    arena_init(&arena);
    bool ok = blueprint_read(text, strlen(text), &test_options, &arena, &blueprint, &err);
    if (ok || err.code != code || strcmp(err.place, place) != 0 || !strstr(err.message, part))
        TEST_FAILED("expected %s: %s: %s\ngot %s: %s: %s\n%s", error_name(code), place, part,
                    ok ? "success" : error_name(err.code), err.place, err.message, text);
    assert_string_equal(blueprint.json, "untouched");
    arena_release(&arena);
}

/* The type of output `index`: "f32[B, 784]". */
static inline const char *output_type(const struct blueprint *blueprint, uint32_t index)
{
    const struct graph *graph = &blueprint->graph;
    const struct node *node = graph_node(graph, graph->outputs.items[index].value);
    struct strbuf out;
    strbuf_init(&out, graph->arena);
    strbuf_printf(&out, "%s[", dtype_name((enum dtype)node->dtype));
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&out, i > 0 ? ", " : "");
        dim_print(&graph->dims, node->shape[i], &out);
    }
    strbuf_puts(&out, "]");
    return out.data;
}

static inline const char *graph_text(const struct blueprint *blueprint)
{
    struct strbuf out;
    strbuf_init(&out, blueprint->graph.arena);
    graph_print(&blueprint->graph, &out);
    return out.data;
}

static inline const char *param_name(const struct blueprint *blueprint, uint32_t index)
{
    return graph_node(&blueprint->graph, blueprint->graph.params.items[index])->attrs->name;
}

#endif
