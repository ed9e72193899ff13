/* Packages with a training step: what is read is what was written, and a step that does not belong
 * to its block is refused. */
#include "package/test_util.h"

#include "base/json.h"

/* Outputs of integers have no cotangent; of the sources w and x only x has a gradient. */
static const char block_text[] = "graph \"block\"\n"
                                 "dim B 1..64 multiple 2 typical 8\n"
                                 "%1 = input \"x\" : f32[B, 4]\n"
                                 "%2 = input \"k\" : i32[B]\n"
                                 "%3 = param \"w\" : f32[4]\n"
                                 "%4 = broadcast %3 {axes [1]} : f32[B, 4]\n"
                                 "%5 = mul %1, %4 : f32[B, 4]\n"
                                 "%6 = copy %2 : i32[B]\n"
                                 "%7 = mul %1, %1 : f32[B, 4]\n"
                                 "output \"y\" %5\noutput \"n\" %6\noutput \"z\" %7\n";

static const char step_text[] = "graph \"step\"\n"
                                "dim B 1..64 multiple 2 typical 8\n"
                                "%1 = input \"x\" : f32[B, 4]\n"
                                "%2 = input \"k\" : i32[B]\n"
                                "%3 = input \"w\" : f32[4]\n"
                                "%4 = input \"cotangent.y\" : f32[B, 4]\n"
                                "%5 = input \"cotangent.z\" : f32[B, 4]\n"
                                "%6 = broadcast %3 {axes [1]} : f32[B, 4]\n"
                                "%7 = mul %1, %6 : f32[B, 4]\n"
                                "%8 = copy %2 : i32[B]\n"
                                "%9 = mul %1, %1 : f32[B, 4]\n"
                                "%10 = mul %4, %6 : f32[B, 4]\n"
                                "output \"y\" %7\noutput \"n\" %8\noutput \"z\" %9\n"
                                "output \"grad.x\" %10\n";

#define BUFFER(dtype, elements, index, kind)                                                       \
    "{\"dtype\":\"" dtype "\",\"elements\":\"" elements "\",\"index\":" #index ",\"kind\":\"" kind \
    "\",\"value\":1},"
#define TEMP "{\"dtype\":\"f32\",\"elements\":\"4*B\",\"kind\":\"temp\",\"value\":1}"
#define LAUNCH(args)                                                                  \
    "{\"args\":[" args "],\"edges\":[],\"extent\":\"B\",\"kernel\":0,\"label\":\"\"," \
    "\"scratch_bytes\":\"0\",\"work\":\"B\",\"written\":1}"

static const char block_plan[] = "{\"buffers\":[" BUFFER("f32", "4*B", 0, "input")
    BUFFER("i32", "B", 1, "input") BUFFER("f32", "4", 0, "param") BUFFER("f32", "4*B", 0, "output")
        BUFFER("i32", "B", 1, "output") BUFFER("f32", "4*B", 2, "output") TEMP
    "],"
    "\"format\":\"urza.plan/2\",\"forward\":[" LAUNCH("3,0,2") "," LAUNCH("4,1") "," LAUNCH(
        "5,0") "],\"kernels\":1,\"prepare\":[]}";

/* Buffers: 0 x, 1 k, 2 w, 3 and 4 cotangents, 5 y, 6 n, 7 z, 8 grad.x, 9 and 10 temporaries. */
static const char step_plan[] = "{\"buffers\":[" BUFFER("f32", "4*B", 0, "input")
    BUFFER("i32", "B", 1, "input") BUFFER("f32", "4", 2, "input") BUFFER("f32", "4*B", 3, "input")
        BUFFER("f32", "4*B", 4, "input") BUFFER("f32", "4*B", 0, "output")
            BUFFER("i32", "B", 1, "output") BUFFER("f32", "4*B", 2, "output")
                BUFFER("f32", "4*B", 3, "output") TEMP
    "," TEMP "],"
    "\"entries\":[{\"count\":4,\"name\":\"forward_train\"},{\"count\":1,\"name\":\"backward\"}],"
    "\"format\":\"urza.plan/2\",\"forward\":[" LAUNCH("9,2") "," LAUNCH("5,0,9") "," LAUNCH(
        "6,1") "," LAUNCH("7,0") "," LAUNCH("8,3,9") "],\"kernels\":1,\"prepare\":[]}";

static const uint8_t code[16] = {0xc3};
static const uint32_t offsets[] = {0};
static const char *const names[] = {"all"}, *const configs[] = {""};
static const float weights[] = {1, 2, 3, 4};

struct fixture {
    struct arena arena;
    struct package_param w;
    struct signing_key key;
    struct trusted_keys trusted;
    struct error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.w = {DTYPE_F32, weights, sizeof weights}, .key = {.private_key = {7}}};
    arena_init(&f.arena);
    must(sign_public(f.key.private_key, f.key.public_key, &f.err), &f.err);
    f.trusted = (struct trusted_keys){(const uint8_t(*)[32]) & f.key.public_key, 1};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

/* plan NULL: no native code. */
static struct package_contents *contents_of(struct fixture *f, const char *graph, const char *plan)
{
    struct package_contents *contents = ARENA_NEW(&f->arena, struct package_contents);
    *contents = (struct package_contents){.name = "b",
                                          .compiler = "by hand",
                                          .strategy = "fast",
                                          .blueprint_json = "{}",
                                          .blueprint_bytes = 2,
                                          .params = &f->w,
                                          .evidence_json = "{}",
                                          .evidence_bytes = 2};
    must(graph_parse(&contents->graph, &f->arena, graph, strlen(graph), &f->err), &f->err);
    if (!plan)
        return contents;
    contents->target_count = 1;
    contents->targets[0] = (struct package_target){.name = "x86-64-v3",
                                                   .code = code,
                                                   .code_bytes = sizeof code,
                                                   .kernel_count = 1,
                                                   .kernel_offsets = offsets,
                                                   .kernel_names = names,
                                                   .kernel_configs = configs};
    must(plan_parse(&contents->targets[0].plan, &f->arena, &contents->graph.dims, plan,
                    strlen(plan), &f->err),
         &f->err);
    return contents;
}

static struct strbuf write_contents(struct fixture *f, const struct package_contents *contents,
                                    bool sign)
{
    struct strbuf out;
    char id[KERNEL_ID_BYTES];
    strbuf_init(&out, &f->arena);
    must(package_write(contents, sign ? &f->key : NULL, &out, id, &f->err), &f->err);
    return out;
}

static void set_training(struct package_contents *block, const struct strbuf *step)
{
    block->training = step->data;
    block->training_bytes = step->size_bytes;
}

static struct strbuf write_trained(struct fixture *f, bool sign)
{
    struct package_contents *block = contents_of(f, block_text, block_plan);
    struct strbuf step = write_contents(f, contents_of(f, step_text, step_plan), false);
    set_training(block, &step);
    return write_contents(f, block, sign);
}

static bool read_bytes(struct fixture *f, const struct strbuf *package, struct arena *arena,
                       struct package_contents *out)
{
    char *copy = arena_alloc(arena, package->size_bytes, 64);
    memcpy(copy, package->data, package->size_bytes);
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, &f->trusted};
    return package_read(copy, package->size_bytes, &trust, arena, out, &f->err);
}

/* A block that is given a step is refused with these words, by the writer and by the reader. */
static void must_refuse(struct fixture *f, struct package_contents *block,
                        const struct strbuf *step, const char *words)
{
    struct package_contents found;
    struct strbuf out, plain = write_contents(f, block, false);
    char id[KERNEL_ID_BYTES], hex[SHA256_HEX_BYTES], line[128];
    strbuf_init(&out, &f->arena);
    set_training(block, step);
    must_fail(package_write(block, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, words);
    must_fail(false, &f->err, ERR_PACKAGE, "training");
    assert_int_equal(out.size_bytes, 0);
    /* An archive that no writer makes: the step is added to that of the block alone. */
    struct zip zip, with = {0};
    must(zip_read(plain.data, plain.size_bytes, &zip, &f->err), &f->err);
    sha256_hex((const uint8_t *)step->data, step->size_bytes, hex);
    snprintf(line, sizeof line, ",\"training\":\"%s\"},\"entry_points\":", hex);
    const char *text =
        arena_strndup(&f->arena, (const char *)zip.entries[0].data, zip.entries[0].size_bytes);
    struct strbuf listed = replace(&f->arena, text, "},\"entry_points\":", line);
    for (uint32_t i = 0; i < zip.count; i++) {
        if (zip.entries[i].name_bytes == strlen("params.safetensors") &&
            memcmp(zip.entries[i].name, "params", 6) == 0)
            zip_add(&with, "training", step->data, step->size_bytes);
        with.entries[with.count++] = zip.entries[i];
    }
    with.entries[0].data = (const uint8_t *)listed.data;
    with.entries[0].size_bytes = listed.size_bytes;
    must(zip_write(&with, &out, &f->err), &f->err);
    must_fail(read_bytes(f, &out, &f->arena, &found), &f->err, ERR_PACKAGE, words);
}

/* All occurrences. */
static const char *replace_all(struct fixture *f, const char *text, const char *from,
                               const char *to)
{
    struct strbuf out = replace(&f->arena, text, from, to);
    const char *rest = strstr(text, from) + strlen(from);
    if (!strstr(rest, from))
        return out.data;
    struct strbuf all;
    strbuf_init(&all, &f->arena);
    strbuf_add(&all, text, (size_t)(strstr(text, from) - text));
    strbuf_puts(&all, to);
    strbuf_puts(&all, replace_all(f, rest, from, to));
    return all.data;
}

static void reads_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = write_trained(f, true), same = write_trained(f, true), again;
    struct package_contents found;
    struct plan_entry entry;
    char id[KERNEL_ID_BYTES];
    assert_int_equal(package.size_bytes, same.size_bytes);
    assert_memory_equal(package.data, same.data, package.size_bytes);
    must(read_bytes(f, &package, &f->arena, &found), &f->err);
    assert_non_null(found.step);
    assert_int_equal((uintptr_t)found.training % 64, 0);
    assert_int_equal(found.step->graph.inputs.count, 5);
    assert_int_equal(found.step->graph.outputs.count, 4);
    assert_null(found.step->step);
    const struct plan *plan = &found.step->targets[0].plan;
    assert_ptr_equal(plan->dims, &found.step->graph.dims);
    assert_true(plan_find_entry(plan, "forward_train", &entry));
    assert_int_equal(entry.first, 0);
    assert_int_equal(entry.count, 4);
    assert_true(plan_find_entry(plan, "backward", &entry));
    assert_int_equal(entry.first, 4);
    assert_int_equal(entry.count, 1);
    assert_false(plan_find_entry(plan, "forward", &entry));
    strbuf_init(&again, &f->arena);
    must(package_write(&found, &f->key, &again, id, &f->err), &f->err);
    assert_string_equal(id, found.id);
    assert_int_equal(package.size_bytes, again.size_bytes);
    assert_memory_equal(package.data, again.data, package.size_bytes);
}

/* The id covers the step, and the manifest says that there is one. */
static void is_in_the_manifest(void **state)
{
    struct fixture *f = *state;
    struct strbuf with = write_trained(f, false);
    struct strbuf without = write_contents(f, contents_of(f, block_text, block_plan), false);
    struct package_contents found, plain;
    const uint8_t *manifest;
    size_t size;
    must(read_bytes(f, &with, &f->arena, &found), &f->err);
    must(read_bytes(f, &without, &f->arena, &plain), &f->err);
    assert_null(plain.step);
    assert_null(plain.training);
    assert_string_not_equal(found.id, plain.id);
    must(package_entry(with.data, with.size_bytes, "manifest.json", &manifest, &size, &f->err),
         &f->err);
    const char *text = arena_strndup(&f->arena, (const char *)manifest, size);
    assert_non_null(strstr(text, "\"entry_points\":[\"forward\",\"forward_train\",\"backward\"]"));
    assert_non_null(strstr(text, ",\"training\":\""));
}

static void refuses_every_flip(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = write_trained(f, true);
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, &f->trusted};
    struct package_contents found;
    struct arena arena;
    arena_init(&arena);
    char *bytes = arena_alloc(&f->arena, package.size_bytes, 64);
    memcpy(bytes, package.data, package.size_bytes);
    for (size_t bit = 0; bit < package.size_bytes * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        bool ok = package_read(bytes, package.size_bytes, &trust, &arena, &found, &f->err);
        if (ok || (f->err.code != ERR_PACKAGE && f->err.code != ERR_SIGNATURE))
            TEST_FAILED("bit %zu may flip", bit);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        arena_release(&arena);
    }
    must(package_read(bytes, package.size_bytes, &trust, &arena, &found, &f->err), &f->err);
    arena_release(&arena);
}

/* Blocks and steps without native code, so that only their graphs can differ. */
static void refuses_graphs_of_other_blocks(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"dim B 1..64", "dim B 1..62", "named dims"},
        {"dim B 1..64", "dim B 2..64", "named dims"},
        {"multiple 2", "multiple 1", "named dims"},
        {"B", "C", "named dims"},
        {"dim B 1..64", "dim A 1..4 multiple 1\n%0 = input \"a\" : f32[A]\ndim B 1..64", NULL},
        {"input \"x\"", "input \"xx\"", "input 'xx' is not the block's"},
        {"input \"k\"", "input \"w\"", NULL}, /* two of one name */
        {"input \"w\"", "param \"w\"", "its inputs are not those of the block"},
        {"cotangent.y", "cotangent.q", "input 'cotangent.q' is no cotangent"},
        {"cotangent.y", "y.cotangent", "input 'y.cotangent' is no cotangent"},
        {"cotangent.y", "cotangent.x", "input 'cotangent.x' is no cotangent"},
        {"cotangent.y\" : f32[B, 4]\n%5 = input \"cotangent.z",
         "cotangent.z\" : f32[B, 4]\n%5 = input \"cotangent.y",
         "input 'cotangent.y' is no cotangent"}, /* in another order */
        {"output \"y\"", "%11 = input \"cotangent.n\" : i32[B]\noutput \"y\"",
         "input 'cotangent.n' is no cotangent"},
        {"i32[B]", "i64[B]", "'k' has another type"},
        {"i32[B]", "i32[2*B]", "'k' has another type"},
        {"f32[B, 4]", "f16[B, 4]", NULL}, /* no graph: w is f32 */
        {"output \"n\"", "output \"m\"", "output 'm' is no gradient"},
        {"output \"y\" %7", "output \"y\" %3", "'y' has another type"},
        {"output \"n\" %8\noutput \"z\" %9\noutput \"grad.x\" %10\n", "output \"n\" %8\n",
         "its outputs are not those of the block"},
        {"grad.x", "grad.q", "output 'grad.q' is no gradient"},
        {"grad.x", "x.grad", "output 'x.grad' is no gradient"},
        {"grad.x", "grad.y", "output 'grad.y' is no gradient"},
        {"grad.x", "grad.w", "'grad.w' has another type"},
        {"output \"grad.x\" %10", "output \"grad.x\" %3", "'grad.x' has another type"},
        {"output \"grad.x\" %10", "output \"grad.k\" %2", "output 'grad.k' is no gradient"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text = replace_all(f, step_text, rows[i].from, rows[i].to);
        struct graph graph;
        if (!rows[i].words) {
            assert_false(graph_parse(&graph, &f->arena, text, strlen(text), &f->err));
            continue;
        }
        struct strbuf step = write_contents(f, contents_of(f, text, NULL), false);
        must_refuse(f, contents_of(f, block_text, NULL), &step, rows[i].words);
    }
    /* What may differ: typical sizes, names of graphs, cotangents that are not there. */
    struct package_contents found, *block = contents_of(f, block_text, NULL);
    const char *text = replace_all(f, step_text, "typical 8", "typical 4");
    struct strbuf step = write_contents(f, contents_of(f, text, NULL), false), package;
    set_training(block, &step);
    package = write_contents(f, block, false);
    must(read_bytes(f, &package, &f->arena, &found), &f->err);
}

static void refuses_plans_of_other_blocks(void **state)
{
    struct fixture *f = *state;
    static const char both[] = "\"entries\":[{\"count\":4,\"name\":\"forward_train\"},"
                               "{\"count\":1,\"name\":\"backward\"}],";
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {both, "", "has not the entries"},
        {both, "\"entries\":[{\"count\":5,\"name\":\"forward_train\"}],", "has not the entries"},
        {"forward_train", "forward", "has not the entries"},
        {"\"backward", "\"back", "has not the entries"},
        {both,
         "\"entries\":[{\"count\":4,\"name\":\"backward\"},{\"count\":1,"
         "\"name\":\"forward_train\"}],",
         "has not the entries"},
        {both,
         "\"entries\":[{\"count\":4,\"name\":\"forward_train\"},{\"count\":1,"
         "\"name\":\"backward\"},{\"count\":0,\"name\":\"c\"}],",
         "has not the entries"},
        {"\"count\":4,\"name\":\"forward_train\"},{\"count\":1",
         "\"count\":5,\"name\":\"forward_train\"},{\"count\":0", "launch 4 of forward_train"},
        {"\"count\":4,\"name\":\"forward_train\"},{\"count\":1",
         "\"count\":3,\"name\":\"forward_train\"},{\"count\":2",
         "forward_train does not write output 2"},
        {"[5,0,9]", "[5,4,9]", "launch 1 of forward_train"},
        /* A loop of forward_train whose states begin with a cotangent; one that ends in a gradient;
         * one whose rows are gathered there. */
        {"\"prepare\"",
         "\"loops\":[{\"count\":1,\"first\":0,\"rows\":[],\"states\":[{\"from\":3,\"next\":9,"
         "\"state\":10}],\"trips\":\"2\"}],\"prepare\"",
         "loop 0 of forward_train"},
        {"\"prepare\"",
         "\"loops\":[{\"count\":1,\"first\":0,\"rows\":[],\"states\":[{\"from\":0,\"next\":9,"
         "\"result\":8,\"state\":10}],\"trips\":\"2\"}],\"prepare\"",
         "loop 0 of forward_train"},
        {"\"prepare\"",
         "\"loops\":[{\"count\":1,\"first\":0,\"rows\":[{\"result\":8,\"row\":9}],\"states\":[],"
         "\"trips\":\"1\"}],\"prepare\"",
         "loop 0 of forward_train"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct strbuf plan = replace(&f->arena, step_plan, rows[i].from, rows[i].to);
        struct strbuf step = write_contents(f, contents_of(f, step_text, plan.data), false);
        must_refuse(f, contents_of(f, block_text, block_plan), &step, rows[i].words);
    }
}

static void refuses_other_packages(void **state)
{
    struct fixture *f = *state;
    struct strbuf step = write_contents(f, contents_of(f, step_text, NULL), false);
    must_refuse(f, contents_of(f, block_text, block_plan), &step, "has not the targets");
    struct package_contents *other = contents_of(f, step_text, step_plan);
    other->targets[0].name = "x86-64-v2";
    step = write_contents(f, other, false);
    must_refuse(f, contents_of(f, block_text, block_plan), &step, "has not the targets");
    struct strbuf nested = write_trained(f, false);
    must_refuse(f, contents_of(f, block_text, block_plan), &nested, "out of order");
    step = write_contents(f, contents_of(f, step_text, step_plan), true); /* signed */
    struct package_contents *block = contents_of(f, block_text, block_plan);
    char id[KERNEL_ID_BYTES];
    set_training(block, &step);
    must_fail(package_write(block, NULL, &step, id, &f->err), &f->err, ERR_SIGNATURE, "training");
    struct strbuf noise = replace(&f->arena, "noise", "n", "N");
    must_refuse(f, contents_of(f, block_text, block_plan), &noise, "training");
    noise.size_bytes = 0;
    must_refuse(f, contents_of(f, block_text, block_plan), &noise, "training");
}

/* y[K, B], where K is an element of k, and c are whole numbers. */
static const char told_text[] = "graph \"told\"\n"
                                "dim B 1..8 multiple 1\ndim K 1..8 multiple 1\n"
                                "%1 = input \"k\" : i64[2]\n"
                                "%2 = input \"x\" : f32[B]\n"
                                "%3 = input \"c\" : f32[2]\n"
                                "%4 = broadcast %2 {axes [1]} : f32[K, B]\n"
                                "%5 = copy %3 : f32[2]\n"
                                "element \"k\" 0 size 0 tells K\n"
                                "output \"y\" %4\noutput \"d\" %5\n";
static const char told_step_text[] = "graph \"told\"\n"
                                     "dim B 1..8 multiple 1\ndim K 1..8 multiple 1\n"
                                     "%1 = input \"k\" : i64[2]\n"
                                     "%2 = input \"x\" : f32[B]\n"
                                     "%3 = input \"c\" : f32[2]\n"
                                     "%4 = input \"cotangent.y\" : f32[K, B]\n"
                                     "%5 = input \"cotangent.d\" : f32[2]\n"
                                     "%6 = broadcast %2 {axes [1]} : f32[K, B]\n"
                                     "%7 = copy %3 : f32[2]\n"
                                     "%8 = copy %5 : f32[2]\n"
                                     "element \"k\" 0 size 0 tells K\n"
                                     "output \"y\" %6\noutput \"d\" %7\noutput \"grad.c\" %8\n";

static void elements_tell_the_same(void **state)
{
    struct fixture *f = *state;
    static const char *const others[] = {
        "",
        "element \"k\" 1 size 0 tells K\n",
        "element \"k\" 0 size 0 tells B\n",
        "element \"k\" 0 size 0 tells K + 1\n",
        "element \"k\" 0 keep 8 tells K\n",
        "element \"k\" 0 place B tells K\n",
        "element \"c\" 0 size 0 tells K\n",
        "element \"cotangent.d\" 0 size 0 tells K\n",
        "element \"k\" 0 size 0 tells K\nelement \"k\" 1 size 0 tells K\n",
    };
    struct package_contents found, *block = contents_of(f, told_text, NULL);
    struct strbuf step = write_contents(f, contents_of(f, told_step_text, NULL), false), package;
    set_training(block, &step);
    package = write_contents(f, block, false);
    must(read_bytes(f, &package, &f->arena, &found), &f->err);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct strbuf text =
            replace(&f->arena, told_step_text, "element \"k\" 0 size 0 tells K\n", others[i]);
        step = write_contents(f, contents_of(f, text.data, NULL), false);
        must_refuse(f, contents_of(f, told_text, NULL), &step, "its elements that tell dims");
    }
}

static void runs_out_of_memory(void **state)
{
    struct fixture *f = *state;
    struct strbuf package = write_trained(f, true);
    static struct package_contents found;
    static struct arena arena;
    static size_t limit, jumps;
    jmp_buf oom;
    arena_init(&arena);
    arena.oom = &oom;
    jumps = 0;
    for (limit = 1;; limit += 509) {
        arena.limit_bytes = limit;
        if (setjmp(oom) == 0) {
            must(package_read(package.data, package.size_bytes,
                              &(struct trust){TRUST_REQUIRE, &f->trusted}, &arena, &found, &f->err),
                 &f->err);
            break;
        }
        jumps++;
        arena_release(&arena);
    }
    assert_true(jumps > 100);
    arena_release(&arena);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_it_wrote),
        TEST(is_in_the_manifest),
        TEST(refuses_every_flip),
        TEST(refuses_graphs_of_other_blocks),
        TEST(refuses_plans_of_other_blocks),
        TEST(refuses_other_packages),
        TEST(elements_tell_the_same),
        TEST(runs_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
