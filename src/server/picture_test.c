/* cmocka.h needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "server/picture.h"
#include "server/picture_priv.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

/* A package of two kernels, one of which runs in prepare, and its parts. */

static const char small_graph[] = "graph \"mlp <&>\"\n"
                                  "dim B 1..64 multiple 1 typical 8\n"
                                  "%1 = input \"x\" : f32[B, 2]\n"
                                  "%2 = param \"w\" : f32[3, 2]\n"
                                  "%3 = copy %2 : f32[3, 2]\n"
                                  "%4 = contract %1, %3 {batch 0, contract 1} : f32[B, 3]\n"
                                  "%5 = const 0.5 : f32[]\n"
                                  "%6 = broadcast %5 {axes []} : f32[B, 3]\n"
                                  "%7 = max %4, %6 : f32[B, 3]\n"
                                  "output \"y\" %7\n";

/* Its buffers (the value of the output, and further buffers, are inserted), and its launches. */
static const char small_buffers[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"2*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\",\"value\":%d},"
    "{\"dtype\":\"f32\",\"elements\":\"6\",\"index\":0,\"kind\":\"param\",\"value\":2},"
    "{\"dtype\":\"f32\",\"elements\":\"6\",\"kind\":\"prepared\",\"value\":3}%s],";
static const char small_launches[] =
    "\"format\":\"urza.plan/2\",\"forward\":["
    "{\"args\":[1,0,3],\"edges\":[],\"extent\":\"B\",\"kernel\":1,\"label\":\"linear]]><b>\","
    "\"scratch_bytes\":\"0\",\"work\":\"6*B\",\"written\":1}],\"kernels\":2,\"prepare\":[";
static const char prepare_launch[] =
    "{\"args\":[%u,2],\"edges\":[],\"extent\":\"1\",\"kernel\":0,\"label\":\"pack\","
    "\"scratch_bytes\":\"0\",\"work\":\"6\",\"written\":1}%s";

struct fixture {
    struct arena arena;
    struct error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.err = {.code = ERR_NONE}};
    arena_init(&f.arena);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

/* The plan of small_graph with `count` prepare launches, of which the kernel needs the last. */
static const char *make_plan(struct fixture *f, int output_value, uint32_t count)
{
    struct strbuf plan, others;
    strbuf_init(&plan, &f->arena);
    strbuf_init(&others, &f->arena);
    for (uint32_t i = 1; i < count; i++)
        strbuf_puts(&others, ",{\"dtype\":\"f32\",\"elements\":\"6\",\"kind\":\"prepared\","
                             "\"value\":3}");
    strbuf_printf(&plan, small_buffers, output_value, others.data);
    strbuf_puts(&plan, small_launches);
    for (uint32_t i = count; i-- > 0;)
        strbuf_printf(&plan, prepare_launch, 3 + i, i > 0 ? "," : "]}");
    return plan.data;
}

/* A package of a graph with at most one param, of six f32; plan NULL: without code. */
static struct strbuf make_package(struct fixture *f, const char *graph, const char *optimised,
                                  const char *plan)
{
    static const float weights[6];
    static const uint8_t code[48] = {0xc3, [32] = 0xc3};
    static const uint32_t offsets[] = {0, 32};
    static const char *const names[] = {"pack", "linear"}, *const configs[] = {"", ""};
    struct package_param param = {DTYPE_F32, weights, sizeof weights};
    struct package_contents *contents = ARENA_NEW(&f->arena, struct package_contents);
    struct package_target *target = &contents->targets[0];
    struct strbuf out;
    char id[KERNEL_ID_BYTES];
    *contents = (struct package_contents){.name = "p",
                                          .compiler = "urza 1.0",
                                          .strategy = "fast",
                                          .blueprint_json = "{}",
                                          .blueprint_bytes = 2,
                                          .params = &param,
                                          .target_count = plan ? 1 : 0,
                                          .evidence_json = "{}",
                                          .evidence_bytes = 2};
    must(graph_parse(&contents->graph, &f->arena, graph, strlen(graph), &f->err), &f->err);
    *target = (struct package_target){.name = "x86-64-v3",
                                      .optimised = optimised,
                                      .optimised_bytes = strlen(optimised),
                                      .code = code,
                                      .code_bytes = sizeof code,
                                      .kernel_count = 2,
                                      .kernel_offsets = offsets,
                                      .kernel_names = names,
                                      .kernel_configs = configs};
    if (plan)
        must(plan_parse(&target->plan, &f->arena, &contents->graph.dims, plan, strlen(plan),
                        &f->err),
             &f->err);
    strbuf_init(&out, &f->arena);
    must(package_write(contents, NULL, &out, id, &f->err), &f->err);
    return out;
}

/* Checks well-formedness of the XML features in use: elements, attributes, text, five entities. */

struct xml {
    const char *at;
};

static void xml_text(struct xml *x, const char *stop)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    while (*x->at && !strchr(stop, *x->at)) {
        bool known = *x->at != '&';
        for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
            known |= strncmp(x->at, entities[i], strlen(entities[i])) == 0;
        unsigned char c = (unsigned char)*x->at++;
        if (!known || c == '>' || (c < ' ' && c != '\n') || c == 0x7f)
            TEST_FAILED("byte %d may not stand here: %.40s", c, x->at - 1);
    }
}

/* Parses an element from its '<'; returns with `at` after it. */
static void xml_element(struct xml *x, int depth)
{
    char name[32];
    int size = 0;
    assert_true(depth < 32);
    if (sscanf(x->at, "<%31[a-z]%n", name, &size) != 1)
        TEST_FAILED("no element: %.40s", x->at);
    x->at += size;
    while (*x->at == ' ') {
        x->at += 1 + strspn(x->at + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
        assert_memory_equal(x->at, "=\"", 2);
        x->at += 2;
        xml_text(x, "\"<");
        assert_int_equal(*x->at++, '"');
    }
    if (strncmp(x->at, "/>", 2) == 0) {
        x->at += 2;
        return;
    }
    assert_int_equal(*x->at++, '>');
    while (strncmp(x->at, "</", 2) != 0) {
        xml_text(x, "<");
        assert_int_equal(*x->at, '<');
        if (x->at[1] != '/')
            xml_element(x, depth + 1);
    }
    x->at += 2;
    assert_memory_equal(x->at, name, strlen(name));
    x->at += strlen(name);
    assert_int_equal(*x->at++, '>');
}

static void check_xml(const struct strbuf *svg)
{
    struct xml x = {svg->data};
    assert_int_equal(strlen(svg->data), svg->size_bytes);
    xml_element(&x, 0);
    assert_string_equal(x.at, "\n");
}

static struct strbuf draw(struct fixture *f, const struct strbuf *package)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must(picture_of_package(package->data, package->size_bytes, &f->arena, &out, &f->err), &f->err);
    check_xml(&out);
    return out;
}

static struct strbuf draw_memory(struct fixture *f, const struct strbuf *package)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must(picture_of_memory(package->data, package->size_bytes, &f->arena, &out, &f->err), &f->err);
    check_xml(&out);
    return out;
}

static void must_have(const struct strbuf *svg, const char *text)
{
    if (!strstr(svg->data, text))
        TEST_FAILED("no '%s' in %s", text, svg->data);
}

static uint32_t count_of(const struct strbuf *svg, const char *text)
{
    uint32_t count = 0;
    for (const char *at = svg->data; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static void kernels_are_framed(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = make_package(f, small_graph, small_graph, make_plan(f, 7, 1));
    struct strbuf svg = draw(f, &package);
    must_have(&svg, "mlp &lt;&amp;&gt;, for x86-64-v3: 7 values; kernels: 1 in a call, 1 at load");
    must_have(&svg, ">kernel 1: linear]]&gt;&lt;b&gt;<");
    must_have(&svg, ">at load 1: pack<");
    must_have(&svg, ">input x</tspan> <tspan class=\"faint\">%1</tspan>");
    must_have(&svg, ">param w<");
    must_have(&svg, ">output y<");
    must_have(&svg, ">max(·, 0.5)<");
    must_have(&svg, "<title>%4 = contract %1, %3 {batch 0, contract 1} : f32[B, 3]</title>");
    assert_null(strstr(svg.data, "not drawn"));
    /* x, w, %3, %4, %7, y and two frames; constants have no boxes */
    assert_int_equal(count_of(&svg, "<g role=\"img\"><title>"), 8);
    assert_int_equal(count_of(&svg, "class=\"frame\""), 1);
    assert_int_equal(count_of(&svg, "class=\"frame prepare\""), 1);
    assert_int_equal(count_of(&svg, "class=\"box stored\""), 2); /* %3 and %7 */
    /* w-%3-border, x-border-%4, border-border-%4, %4-%7-border, border-y */
    assert_int_equal(count_of(&svg, "class=\"line\""), 10 - 1);
    assert_int_equal(count_of(&svg, "marker-end"), 5);
    svg = draw_memory(f, &package);
    must_have(&svg, "for x86-64-v3: no temporaries");
}

static void without_code_the_graph_is_drawn(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = make_package(f, small_graph, "", NULL);
    struct strbuf svg = draw(f, &package), again = draw(f, &package);
    must_have(&svg, ": 7 values, no code");
    assert_int_equal(count_of(&svg, "<g role=\"img\"><title>"), 6);
    assert_int_equal(count_of(&svg, "class=\"line\""), 5);
    assert_int_equal(count_of(&svg, "class=\"frame"), 0);
    assert_string_equal(svg.data, again.data);
    svg = draw_memory(f, &package);
    must_have(&svg, "no code, so no temporaries");
}

static void damaged_packages_are_refused(void **state)
{
    struct fixture *f = *state;
    struct strbuf out, package = make_package(f, small_graph, small_graph, make_plan(f, 8, 1));
    strbuf_init(&out, &f->arena);
    assert_false(picture_of_package(package.data, package.size_bytes, &f->arena, &out, &f->err));
    assert_int_equal(f->err.code, ERR_PACKAGE);
    assert_non_null(strstr(f->err.message, "buffer 1"));
    package = make_package(f, small_graph, "graph", make_plan(f, 7, 1));
    assert_false(picture_of_package(package.data, package.size_bytes, &f->arena, &out, &f->err));
    assert_int_equal(f->err.code, ERR_PACKAGE);
    assert_false(picture_of_memory(package.data, package.size_bytes, &f->arena, &out, &f->err));
    assert_int_equal(f->err.code, ERR_PACKAGE);
    assert_false(picture_of_package("nothing", 7, &f->arena, &out, &f->err));
    assert_int_equal(f->err.code, ERR_PACKAGE);
    assert_int_equal(out.size_bytes, 0);
}

/* Most values have two operands: many lines and many layers. */
static void large_graphs_are_cut(void **state)
{
    struct fixture *f = *state;
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    strbuf_puts(&text, "graph \"large\"\ndim B 1..64 multiple 1 typical 8\n"
                       "%1 = input \"x\" : f32[B]\n%2 = input \"z\" : f32[B]\n");
    for (uint32_t i = 3; i <= 20000; i++)
        strbuf_printf(&text, "%%%u = add %%%u, %%%u : f32[B]\n", i, i - 1,
                      i % 3 ? 1 + i / 2 : i - 2);
    strbuf_puts(&text, "output \"y\" %20000\n");
    struct strbuf package = make_package(f, text.data, "", NULL);
    struct strbuf svg = draw(f, &package);
    must_have(&svg, "19600 of 20000 values are not drawn.");
    assert_int_equal(count_of(&svg, "<g role=\"img\"><title>"), 400);
    assert_true(svg.size_bytes < 500000);
}

/* Hundreds of launches, each of which reads all earlier results: the largest number of lines. */
static void large_plans_are_cut(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 600, READS = 60 };
    struct strbuf graph, plan, launches;
    strbuf_init(&graph, &f->arena);
    strbuf_init(&plan, &f->arena);
    strbuf_init(&launches, &f->arena);
    strbuf_puts(&graph, "graph \"large\"\n%1 = input \"x\" : f32[1]\n");
    strbuf_puts(&plan, "{\"buffers\":[{\"dtype\":\"f32\",\"elements\":\"1\",\"index\":0,"
                       "\"kind\":\"input\",\"value\":1}");
    for (uint32_t i = 1; i < COUNT; i++) {
        bool last = i + 1 == COUNT;
        strbuf_printf(&graph, "%%%u = concat ", i * 2);
        strbuf_printf(&launches, "%s{\"args\":[%u", i > 1 ? "," : "", i);
        for (uint32_t k = 0; k < READS && k < i; k++) {
            strbuf_printf(&graph, "%s%%%u", k > 0 ? ", " : "", (i - k) * 2 - 1);
            strbuf_printf(&launches, ",%u", i - k - 1);
        }
        strbuf_printf(&graph, " {axis 0} : f32[%u]\n", i < READS ? i : READS);
        strbuf_printf(&graph, "%%%u = slice %%%u {start [0], step [1]} : f32[1]\n", i * 2 + 1,
                      i * 2);
        strbuf_printf(&plan, ",{\"dtype\":\"f32\",\"elements\":\"1\",%s,\"value\":%u}",
                      last ? "\"index\":0,\"kind\":\"output\"" : "\"kind\":\"temp\"", i * 2 + 1);
        strbuf_puts(&launches, "],\"edges\":[],\"extent\":\"1\",\"kernel\":0,\"label\":\"k\","
                               "\"scratch_bytes\":\"0\",\"work\":\"1\",\"written\":1}");
    }
    strbuf_printf(&graph, "output \"y\" %%%u\n", COUNT * 2 - 1);
    strbuf_printf(&plan,
                  "],\"format\":\"urza.plan/2\",\"forward\":[%s],\"kernels\":2,"
                  "\"prepare\":[]}",
                  launches.data);
    struct strbuf package = make_package(f, graph.data, graph.data, plan.data);
    struct strbuf svg = draw(f, &package);
    must_have(&svg, "values are not drawn");
    must_have(&svg, "lines are not drawn");
    assert_true(count_of(&svg, "<g role=\"img\"><title>") < 800);
    assert_true(svg.size_bytes < 2000000);
    svg = draw_memory(f, &package); /* each is alive for 60 launches */
    must_have(&svg, "598 temporaries over 400 launches, at most 244 B");
    must_have(&svg, "518 more are not drawn.");
    assert_int_equal(count_of(&svg, "class=\"bar\""), 80 + 400 - count_of(&svg, "class=\"peak\""));
}

/* One kernel, and many prepare launches, of which it needs the first; each takes two boxes. */
static void frames_are_cut(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = make_package(f, small_graph, small_graph, make_plan(f, 7, 500));
    struct strbuf svg = draw(f, &package);
    assert_int_equal(count_of(&svg, "class=\"frame\""), 1);
    /* First w and %3; then x, %4 and %7; then w and %3 repeatedly, the last time without %3. */
    assert_int_equal(count_of(&svg, "class=\"frame prepare\""), 1 + 198);
    must_have(&svg, "at load 198: pack, values not drawn: 1");
}

/* A launch that writes a buffer that it reads: it has nothing to draw. */
static void empty_kernels_have_no_frame(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = make_package(f, small_graph, small_graph, make_plan(f, 3, 1));
    struct strbuf svg = draw(f, &package);
    assert_int_equal(count_of(&svg, "class=\"frame"), 1);
    must_have(&svg, "4 of 7 values are not drawn."); /* all but x, w and %3 */
}

static void names_are_made_safe(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        uint32_t columns_max;
        const char *xml;
        uint32_t columns;
    } rows[] = {
        {"", 9, "", 0},
        {"a<b>&\"'", 9, "a&lt;b&gt;&amp;&quot;&#39;", 7},
        {"abcdefghij", 10, "abcdefghij", 10},
        {"abcdefghijk", 10, "abc…fghijk", 10},
        {"<<<<<<<<<<<", 4, "&lt;…&lt;&lt;", 4},
        {"a\x01\n\x7f", 9, "a���", 4},
        {"\xff\xc0\xaf\xed\xa0\x80", 9, "������", 6}, /* invalid UTF-8, an overlong form, a
                                                         surrogate */
        {"\xf4\x90\x80\x80\xe2\x82", 9, "������", 6}, /* beyond Unicode, truncated */
        /* Right-to-left override, a non-character, a C1 control. */
        {"\xe2\x80\xae\xef\xbf\xbf\xc2\x85", 9, "���", 3},
        {"é界\xf0\x9f\x98\x80", 9, "é界\xf0\x9f\x98\x80", 5},
        {"界界界界界界", 7, "界…界界", 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct label label =
            label_make(&f->arena, rows[i].text, strlen(rows[i].text), rows[i].columns_max);
        assert_string_equal(label.xml, rows[i].xml);
        assert_int_equal(label.columns, rows[i].columns);
    }
    assert_string_equal(label_make(&f->arena, "a\0b", 3, 9).xml, "a�b");
}

static void strangers_cannot_write_markup(void **state)
{
    struct fixture *f = *state;
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    strbuf_puts(&text, "graph \"</title><script>\"\n"
                       "%1 = input \"\\\"><script>&\\u0001\\n\" : f32[2]\n"
                       "output \"</g>");
    for (int i = 0; i < 60; i++)
        strbuf_puts(&text, "]]>");
    strbuf_puts(&text, "\" %1\n");
    struct strbuf package = make_package(f, text.data, "", NULL);
    struct strbuf svg = draw(f, &package);
    assert_null(strstr(svg.data, "<script"));
    assert_null(strstr(svg.data, "]]>"));
}

struct random {
    uint64_t key, counter;
};

static uint32_t random_below(struct random *random, uint32_t end)
{
    return rng_u32(random->key, random->counter++) % end;
}

static void add_random_lines(struct layering *l, struct arena *arena, struct random *random,
                             uint32_t to)
{
    for (uint32_t k = 0; to > 0 && k < 3; k++) {
        uint32_t from = random_below(random, to);
        if (k > 0 && from + 20 < to)
            continue; /* most lines are short */
        struct layering_line line = {from, to, 10.0 * (k + 1), 0};
        VEC_PUSH(arena, &l->lines, line);
    }
}

static void check_apart(const struct layering *l)
{
    for (uint32_t i = 0; i < l->nodes.count; i++) {
        const struct layering_node *a = &l->nodes.items[i];
        assert_true(a->x >= 0 && a->x + a->width <= l->width);
        assert_true(a->y >= 0 && a->y + a->height <= l->height);
        for (uint32_t k = 0; k < i; k++) {
            const struct layering_node *b = &l->nodes.items[k];
            assert_true(a->x + a->width <= b->x || b->x + b->width <= a->x ||
                        a->y + a->height <= b->y || b->y + b->height <= a->y);
        }
    }
}

static void check_passes(struct layering *l, uint32_t line)
{
    const struct layering_pass *pass;
    const struct layering_node *to = &l->nodes.items[l->lines.items[line].to];
    uint32_t count = layering_passes(l, line, &pass);
    assert_true(count >= 2);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(pass[i].top <= pass[i].bottom);
        assert_true(i == 0 || pass[i - 1].bottom < pass[i].top);
    }
    assert_true(pass[count - 1].bottom == to->y);
    /* Where a line passes a layer, it passes no node. */
    for (uint32_t i = 1; i + 1 < count; i++)
        for (uint32_t k = 0; k < l->nodes.count; k++) {
            const struct layering_node *node = &l->nodes.items[k];
            assert_true(pass[i].x < node->x || pass[i].x > node->x + node->width ||
                        pass[i].bottom < node->y || pass[i].top > node->y + node->height);
        }
}

static void boxes_stand_apart_and_lines_lead_down(void **state)
{
    struct fixture *f = *state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random random = {rng_key(seed), 0};
        struct layering l = {.space_x = 10, .space_y = 20};
        for (uint32_t i = 0; i < 60; i++) {
            struct layering_node node = {.width = 40 + random_below(&random, 60),
                                         .height = 20 + random_below(&random, 30)};
            struct layering_net net = {i, 20, node.height, 1 + (double)(i % 2)};
            VEC_PUSH(&f->arena, &l.nodes, node);
            VEC_PUSH(&f->arena, &l.nets, net);
            add_random_lines(&l, &f->arena, &random, i);
        }
        layering_place(&l, &f->arena);
        check_apart(&l);
        for (uint32_t i = 0; i < l.lines.count; i++)
            check_passes(&l, i);
    }
}

static void nothing_has_no_size(void **state)
{
    struct fixture *f = *state;
    struct layering l = {.space_x = 10, .space_y = 20};
    layering_place(&l, &f->arena);
    assert_true(l.width == 0 && l.height == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kernels_are_framed, setup, teardown),
        cmocka_unit_test_setup_teardown(without_code_the_graph_is_drawn, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_packages_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(large_graphs_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(large_plans_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_kernels_have_no_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_made_safe, setup, teardown),
        cmocka_unit_test_setup_teardown(strangers_cannot_write_markup, setup, teardown),
        cmocka_unit_test_setup_teardown(boxes_stand_apart_and_lines_lead_down, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_has_no_size, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
