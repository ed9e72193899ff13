#include "package/test_util.h"

#include "base/json.h"

/* A small but complete package: a dynamic dim, two params of different width, two targets, a
 * prepare launch. */
struct fixture {
    struct arena arena;
    struct package_contents contents;
    struct package_param params[2];
    struct signing_key key;
    struct trusted_keys trusted;
    struct error err;
};

static const char graph_text[] = "graph \"mlp\"\n"
                                 "dim B 1..64 multiple 2 typical 8\n"
                                 "%1 = input \"x\" : f32[B, 2]\n"
                                 "%2 = param \"scale\" : u8[3]\n"
                                 "%3 = param \"w\" : f32[3, 2]\n"
                                 "%4 = contract %1, %3 {batch 0, contract 1} : f32[B, 3]\n"
                                 "output \"y\" %4\n";

static const char blueprint[] = "{\"format\":\"urza.blueprint/1\"}";

static const char plan_text[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"2*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"6\",\"index\":1,\"kind\":\"param\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"32\",\"kind\":\"prepared\",\"value\":1}],"
    "\"format\":\"urza.plan/2\",\"forward\":["
    "{\"args\":[1,0,3],\"edges\":[],\"extent\":\"B\",\"kernel\":1,\"label\":\"linear\","
    "\"scratch_bytes\":\"0\",\"work\":\"6*B\",\"written\":1}],"
    "\"kernels\":2,\"prepare\":["
    "{\"args\":[3,2],\"edges\":[],\"extent\":\"1\",\"kernel\":0,\"label\":\"pack\","
    "\"scratch_bytes\":\"0\",\"work\":\"6\",\"written\":1}]}";

static const uint8_t code[48] = {0xc3, 0x90, [32] = 0xc3};
static const uint32_t offsets[] = {0, 32};
static const char *const names[] = {"pack", "linear"};
static const char *const configs[] = {"", "vector n 16\nunroll m 4"};
static const float weights[] = {1, 2, 3, 4, 5, 6};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){
        .contents = {.name = "mlp",
                     .compiler = "urza 1.0",
                     .strategy = "fast",
                     .blueprint_json = blueprint,
                     .blueprint_bytes = strlen(blueprint),
                     .params = f.params,
                     .target_count = 2,
                     .evidence_json = "{\"p50_ns\":17}",
                     .evidence_bytes = 13},
        .params = {{DTYPE_U8, "\1\2\3", 3}, {DTYPE_F32, weights, sizeof weights}},
        .key = {.private_key = {1, 2, 3}},
    };
    arena_init(&f.arena);
    struct graph *graph = &f.contents.graph;
    must(graph_parse(graph, &f.arena, graph_text, strlen(graph_text), &f.err), &f.err);
    for (uint32_t i = 0; i < 2; i++) {
        struct package_target *target = &f.contents.targets[i];
        *target = (struct package_target){
            .name = i == 0 ? "x86-64-v4" : "x86-64-v3",
            .code = code,
            .code_bytes = i == 0 ? sizeof code : 33,
            .kernel_count = 2,
            .kernel_offsets = offsets,
            .kernel_names = names,
            .kernel_configs = configs,
        };
        must(
            plan_parse(&target->plan, &f.arena, &graph->dims, plan_text, strlen(plan_text), &f.err),
            &f.err);
    }
    must(sign_public(f.key.private_key, f.key.public_key, &f.err), &f.err);
    f.trusted = (struct trusted_keys){(const uint8_t(*)[32]) & f.key.public_key, 1};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static struct strbuf write_package(struct fixture *f, bool sign, char id[KERNEL_ID_BYTES])
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must(package_write(&f->contents, sign ? &f->key : NULL, &out, id, &f->err), &f->err);
    return out;
}

/* Reads an aligned copy under the policy of most tests: signed by the fixture's key, or
 * unsigned. */
static bool read_package(struct fixture *f, const struct strbuf *package,
                         struct package_contents *out)
{
    char *copy = arena_alloc(&f->arena, package->size_bytes, 64);
    memcpy(copy, package->data, package->size_bytes);
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, &f->trusted};
    return package_read(copy, package->size_bytes, &trust, &f->arena, out, &f->err);
}

static void reads_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, true, id);
    struct package_contents found;
    must(read_package(f, &package, &found), &f->err);
    assert_string_equal(id, found.id);
    assert_memory_equal(id, "kernel-", 7);
    assert_int_equal(strlen(id), 71);
    assert_string_equal(found.name, "mlp");
    assert_string_equal(found.compiler, "urza 1.0");
    assert_string_equal(found.strategy, "fast");
    assert_int_equal(found.blueprint_bytes, f->contents.blueprint_bytes);
    assert_memory_equal(found.blueprint_json, f->contents.blueprint_json, found.blueprint_bytes);
    assert_int_equal(found.evidence_bytes, 13);
    assert_memory_equal(found.evidence_json, "{\"p50_ns\":17}", 13);
    assert_int_equal(found.graph.inputs.count, 1);
    assert_int_equal(found.params[0].data_bytes, 3);
    assert_memory_equal(found.params[0].data, "\1\2\3", 3);
    assert_memory_equal(found.params[1].data, weights, sizeof weights);
    assert_int_equal((uintptr_t)found.params[1].data % 64, 0); /* the widest dtype comes first */
    assert_int_equal(found.target_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct package_target *target = &found.targets[i];
        assert_string_equal(target->name, f->contents.targets[i].name);
        assert_int_equal(target->code_bytes, f->contents.targets[i].code_bytes);
        assert_memory_equal(target->code, code, target->code_bytes);
        assert_int_equal((uintptr_t)target->code % 64, 0);
        assert_int_equal(target->kernel_count, 2);
        assert_int_equal(target->kernel_offsets[1], 32);
        assert_string_equal(target->kernel_names[1], "linear");
        assert_string_equal(target->kernel_configs[1], configs[1]);
        assert_ptr_equal(target->plan.dims, &found.graph.dims);
        assert_int_equal(target->plan.forward.count, 1);
    }
}

static void manifest_text(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES], hex[SHA256_HEX_BYTES];
    struct strbuf package = write_package(f, false, id);
    const uint8_t *manifest;
    size_t size;
    must(
        package_entry(package.data, package.size_bytes, "manifest.json", &manifest, &size, &f->err),
        &f->err);
    sha256_hex(manifest, size, hex);
    assert_string_equal(id + 7, hex);
    const char *text = arena_strndup(&f->arena, (const char *)manifest, size);
    static const char *const parts[] = {
        "{\"compiler\":\"urza 1.0\",\"dims\":[{\"max\":64,\"min\":1,\"multiple_of\":2,"
        "\"name\":\"B\",\"typical\":8}],\"entries\":{\"blueprint.json\":\"",
        "\",\"plan/x86-64-v3\":\"",
        "},\"entry_points\":[\"forward\"],\"format\":\"urza.package/1\",\"guards\":["
        "{\"equals\":\"f32\",\"guard\":\"dtype\",\"input\":\"x\"},"
        "{\"equals\":2,\"guard\":\"rank\",\"input\":\"x\"},"
        "{\"axis\":0,\"equals\":\"B\",\"guard\":\"dim\",\"input\":\"x\"},"
        "{\"axis\":1,\"equals\":\"2\",\"guard\":\"dim\",\"input\":\"x\"},"
        "{\"dim\":\"B\",\"guard\":\"range\",\"max\":64,\"min\":1},"
        "{\"dim\":\"B\",\"guard\":\"multiple\",\"of\":2}],"
        "\"inputs\":[{\"dtype\":\"f32\",\"name\":\"x\",\"shape\":[\"B\",\"2\"]}],\"name\":\"mlp\","
        "\"outputs\":[{\"dtype\":\"f32\",\"name\":\"y\",\"shape\":[\"B\",\"3\"]}],"
        "\"params\":[{\"dtype\":\"u8\",\"name\":\"scale\",\"shape\":[\"3\"]},",
        "\"strategy\":\"fast\",\"targets\":[{\"features\":[\"cx16\",",
        "\"kernels\":[{\"config\":\"\",\"name\":\"pack\",\"offset\":0},"
        "{\"config\":\"vector n 16\\nunroll m 4\",\"name\":\"linear\",\"offset\":32}],"
        "\"name\":\"x86-64-v4\"},",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strstr(text, parts[i]))
            TEST_FAILED("no %s in %s", parts[i], text);
    assert_null(strstr(text, "evidence.json"));
    must_fail(
        package_entry(package.data, package.size_bytes, "signature", &manifest, &size, &f->err),
        &f->err, ERR_NOT_FOUND, "signature");

    /* The general JSON printer also finds it canonical. */
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    struct strbuf canonical;
    strbuf_init(&canonical, &f->arena);
    json_write_canonical(root, &canonical);
    json_decref(root);
    assert_string_equal(canonical.data, text);
}

static void same_contents_same_bytes(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES], other[KERNEL_ID_BYTES];
    struct strbuf a = write_package(f, true, id), b = write_package(f, true, other);
    assert_int_equal(a.size_bytes, b.size_bytes);
    assert_memory_equal(a.data, b.data, a.size_bytes);

    /* Signature and evidence do not change the id; everything else does. */
    f->contents.evidence_json = "{\"p50_ns\":18}";
    write_package(f, false, other);
    assert_string_equal(id, other);
    f->contents.strategy = "standard";
    write_package(f, false, other);
    assert_string_not_equal(id, other);

    /* Writing the package that was read gives the same bytes. */
    struct package_contents found;
    must(read_package(f, &a, &found), &f->err);
    struct strbuf again;
    strbuf_init(&again, &f->arena);
    must(package_write(&found, &f->key, &again, other, &f->err), &f->err);
    assert_string_equal(id, other);
    assert_int_equal(a.size_bytes, again.size_bytes);
    assert_memory_equal(a.data, again.data, a.size_bytes);
}

static void refuses_every_flip_and_cut(void **state)
{
    struct fixture *f = *state;
    char written_id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, true, written_id);
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, &f->trusted};
    struct package_contents found = {.target_count = 77};
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
    for (size_t cut = 0; cut < package.size_bytes; cut++) {
        bool ok = package_read(bytes, cut, &trust, &arena, &found, &f->err);
        must_fail(ok, &f->err, ERR_PACKAGE, "");
        arena_release(&arena);
    }
    assert_int_equal(found.target_count, 77);
    assert_string_equal(found.id, "");
    must(package_read(bytes, package.size_bytes, &(struct trust){TRUST_REQUIRE, &f->trusted},
                      &arena, &found, &f->err),
         &f->err);
    arena_release(&arena);
}

static void trust(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf open = write_package(f, false, id), sealed = write_package(f, true, id);
    struct package_contents found;
    const uint8_t other[1][32] = {{9}};
    const struct trusted_keys wrong = {other, 1};
    const struct trust any = {.policy = TRUST_ALLOW_UNSIGNED},
                       signed_only = {TRUST_REQUIRE, &f->trusted};
    must(package_read(open.data, open.size_bytes, &any, &f->arena, &found, &f->err), &f->err);
    must_fail(package_read(open.data, open.size_bytes, &signed_only, &f->arena, &found, &f->err),
              &f->err, ERR_SIGNATURE, "not signed");
    for (int policy = TRUST_REQUIRE; policy <= TRUST_ALLOW_UNSIGNED; policy++) {
        const struct trust in_other = {(enum package_trust)policy, &wrong};
        const struct trust in_none = {.policy = (enum package_trust)policy};
        bool ok =
            package_read(sealed.data, sealed.size_bytes, &in_other, &f->arena, &found, &f->err);
        must_fail(ok, &f->err, ERR_SIGNATURE, "not trusted");
        ok = package_read(sealed.data, sealed.size_bytes, &in_none, &f->arena, &found, &f->err);
        must_fail(ok, &f->err, ERR_SIGNATURE, "not trusted");
    }
    f->key.public_key[0] ^= 1;
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must_fail(package_write(&f->contents, &f->key, &out, id, &f->err), &f->err, ERR_SIGNATURE,
              "halves");
}

/* The package with the text of one entry changed and a valid container. With rehash, the manifest
 * lists the new hash. */
static struct strbuf tamper(struct fixture *f, const struct strbuf *package, const char *name,
                            const char *from, const char *to, bool rehash)
{
    struct zip zip;
    must(zip_read(package->data, package->size_bytes, &zip, &f->err), &f->err);
    struct zip_entry *entry = (struct zip_entry *)zip_find(&zip, name);
    assert_non_null(entry);
    const char *old = arena_strndup(&f->arena, (const char *)entry->data, entry->size_bytes);
    struct strbuf text = replace(&f->arena, old, from, to);
    if (rehash) {
        char before[SHA256_HEX_BYTES], after[SHA256_HEX_BYTES], line[2][128];
        sha256_hex(entry->data, entry->size_bytes, before);
        sha256_hex(text.data, text.size_bytes, after);
        snprintf(line[0], sizeof line[0], "\"%.32s\":\"%s", name, before);
        snprintf(line[1], sizeof line[1], "\"%.32s\":\"%s", name, after);
        struct zip_entry *manifest = &zip.entries[0];
        const char *listed =
            arena_strndup(&f->arena, (const char *)manifest->data, manifest->size_bytes);
        struct strbuf changed = replace(&f->arena, listed, line[0], line[1]);
        manifest->data = (const uint8_t *)changed.data;
        manifest->size_bytes = changed.size_bytes;
    }
    entry->data = (const uint8_t *)text.data;
    entry->size_bytes = text.size_bytes;
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    must(zip_write(&zip, &out, &f->err), &f->err);
    return out;
}

static void signed_parts_cannot_change(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, true, id);
    struct package_contents found;
    struct strbuf bad = tamper(f, &package, "evidence.json", "17", "16", false);
    must_fail(read_package(f, &bad, &found), &f->err, ERR_SIGNATURE, "does not fit");
    bad = tamper(f, &package, "manifest.json", "fast", "slow", false);
    must_fail(read_package(f, &bad, &found), &f->err, ERR_SIGNATURE, "does not fit");
    bad = tamper(f, &package, "graph", "typical 8", "typical 4", true);
    must_fail(read_package(f, &bad, &found), &f->err, ERR_SIGNATURE, "does not fit");
    bad = tamper(f, &package, "graph", "typical 8", "typical 4", false);
    must_fail(read_package(f, &bad, &found), &f->err, ERR_PACKAGE, "'graph'");
    bad = tamper(f, &package, "signature", "\"key\":", "\"key\": ", false);
    must_fail(read_package(f, &bad, &found), &f->err, ERR_SIGNATURE, "no signature");
    bad = tamper(f, &package, "signature", "{\"key\":\"", "{\"kee\":\"", false);
    must_fail(read_package(f, &bad, &found), &f->err, ERR_SIGNATURE, "no signature");
}

/* Entries that contradict each other are refused, even in an unsigned package. */
static void refuses_contradictions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *entry, *from, *to;
        bool rehash;
        const char *text;
    } rows[] = {
        {"manifest.json", "\"name\":\"x\"", "\"name\":\"z\"", false, "'inputs'"},
        {"manifest.json", "\"name\":\"y\"", "\"name\":\"z\"", false, "'outputs'"},
        {"manifest.json", "\"name\":\"w\"", "\"name\":\"z\"", false, "'params'"},
        {"manifest.json", "\"max\":64", "\"max\":65", false, "'dims'"},
        {"manifest.json", "\"equals\":2", "\"equals\":3", false, "'guards'"},
        {"manifest.json", "\"cx16\"", "\"cx15\"", false, "'targets'"},
        {"manifest.json", "[\"forward\"]", "[]", false, "'entry_points'"},
        {"manifest.json", "{\"compiler\"", "{\"a\":1,\"compiler\"", false, "'a'"},
        {"manifest.json", "{\"compiler\"", "{ \"compiler\"", false, "canonical"},
        {"manifest.json", "\"name\":\"mlp\",", "", false, "name"},
        {"manifest.json", "package/1", "package/2", false, "package/2"},
        {"manifest.json", "{\"compiler\"", "", false, "manifest.json"},
        {"manifest.json", "\"entries\":{", "\"entries\":{\"a\":\"b\",", false, "not there"},
        {"manifest.json", "\"graph\":\"", "\"graph\":\"0", false, "'graph'"},
        {"manifest.json", "\"offset\":32", "\"offset\":48", false, "behind the code"},
        {"manifest.json", "\"offset\":32", "\"offset\":-1", false, "offset"},
        {"manifest.json", "{\"config\":\"\",\"name\":\"pack\",\"offset\":0},", "", false,
         "has 1 kernels, its plan 2"},
        {"manifest.json", "\"name\":\"x86-64-v3\"", "\"name\":\"x86-64-v4\"", false,
         "plan/x86-64-v4"},
        {"manifest.json", "\"name\":\"x86-64-v3\"", "\"name\":\"x86-64-v9\"", false,
         "plan/x86-64-v9"},
        {"graph", "typical 8", "typical 4", true, "'dims'"},
        {"graph", "dim B 1..64 multiple 2", "dim B 2..64 multiple 2", true, "'dims'"},
        {"graph", "output \"y\" %4", "output \"y\" %3", true, "output 0"},
        {"graph", "contract %1, %3", "contract %1, %9", true, "graph"},
        {"graph", "dim B", "dim C 1..2 multiple 1\ndim B", true, "'C'"},
        {"blueprint.json", "blueprint", "blueprunt", false, "'blueprint.json'"},
        {"code/x86-64-v3", "\x90", "\x91", false, "'code/x86-64-v3'"},
        {"plan/x86-64-v4", "\"kernel\":1", "\"kernel\":2", true, "plan/x86-64-v4"},
        {"plan/x86-64-v4", "\"kernels\":2", "\"kernels\":3", true, "has 2 kernels, its plan 3"},
        {"plan/x86-64-v4", "\"elements\":\"2*B\"", "\"elements\":\"3*B\"", true, "input 0"},
        {"plan/x86-64-v4", "\"elements\":\"2*B\"", "\"elements\":\"2*D\"", true, "buffer 0"},
        {"plan/x86-64-v4", "\"index\":1", "\"index\":2", true, "no param 2"},
    };
    char id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, false, id);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct package_contents found;
        struct strbuf bad =
            tamper(f, &package, rows[i].entry, rows[i].from, rows[i].to, rows[i].rehash);
        bool ok = read_package(f, &bad, &found);
        must_fail(ok, &f->err, ERR_PACKAGE, rows[i].text);
    }
}

/* A model is called no package; a package that is damaged is called damaged. */
static void tells_what_is_no_package(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct package_contents found;
    static const char *const models[] = {"", "{\"format\": \"urza.blueprint/1\"}", "PK",
                                         "PK\3\4 as other programs write it, with a model inside",
                                         "\x08\x08\x12\x07pytorch"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct strbuf bytes;
        strbuf_init(&bytes, &f->arena);
        strbuf_puts(&bytes, models[i]);
        must_fail(read_package(f, &bytes, &found), &f->err, ERR_PACKAGE,
                  "this is no package: urza compile");
    }
    struct strbuf package = write_package(f, false, id);
    package.size_bytes -= 5;
    must_fail(read_package(f, &package, &found), &f->err, ERR_PACKAGE, "not an archive as this");
}

static void refuses_other_entries(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, false, id);
    struct package_contents found;
    struct zip whole, zip;
    must(zip_read(package.data, package.size_bytes, &whole, &f->err), &f->err);
    for (uint32_t left_out = 0; left_out < whole.count; left_out++) {
        struct strbuf bytes;
        strbuf_init(&bytes, &f->arena);
        zip.count = 0;
        for (uint32_t i = 0; i < whole.count; i++)
            if (i != left_out)
                zip.entries[zip.count++] = whole.entries[i];
        must(zip_write(&zip, &bytes, &f->err), &f->err);
        must_fail(read_package(f, &bytes, &found), &f->err, ERR_PACKAGE, "");
    }
    for (uint32_t i = 1; i < whole.count; i++) {
        struct strbuf bytes;
        strbuf_init(&bytes, &f->arena);
        zip = whole;
        zip.entries[i] = whole.entries[i - 1];
        zip.entries[i - 1] = whole.entries[i];
        must(zip_write(&zip, &bytes, &f->err), &f->err);
        must_fail(read_package(f, &bytes, &found), &f->err, ERR_PACKAGE, "out of order");
    }
    struct strbuf bytes;
    strbuf_init(&bytes, &f->arena);
    zip = whole;
    zip_add(&zip, "readme", "hello", 5);
    must(zip_write(&zip, &bytes, &f->err), &f->err);
    must_fail(read_package(f, &bytes, &found), &f->err, ERR_PACKAGE, "'readme'");
    must_fail(package_read("", 0, &(struct trust){TRUST_ALLOW_UNSIGNED, NULL}, &f->arena, &found,
                           &f->err),
              &f->err, ERR_PACKAGE, "");
}

static void looks_like_itself(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, true, id);
    assert_true(package_looks_like(package.data, package.size_bytes));
    assert_true(package_looks_like(package.data, 64)); /* though it is cut off */
    assert_false(package_looks_like(package.data, 42));
    package.data[30]++; /* another first entry */
    assert_false(package_looks_like(package.data, package.size_bytes));
}

static void interpreter_only(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct package_contents found;
    f->contents.target_count = 0;
    f->contents.evidence_json = "{}";
    f->contents.evidence_bytes = 2;
    struct strbuf package = write_package(f, true, id);
    must(read_package(f, &package, &found), &f->err);
    assert_int_equal(found.target_count, 0);
    const uint8_t *data;
    size_t size;
    must_fail(
        package_entry(package.data, package.size_bytes, "code/x86-64-v4", &data, &size, &f->err),
        &f->err, ERR_NOT_FOUND, "code/x86-64-v4");
}

static void refuses_to_write(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    struct package_contents bad = f->contents;
    bad.targets[1].name = "x86-64-v4";
    must_fail(package_write(&bad, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, "twice");
    bad.targets[1].name = "skylake";
    must_fail(package_write(&bad, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, "skylake");
    bad = f->contents;
    bad.targets[1].code_bytes = 32;
    must_fail(package_write(&bad, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, "behind");
    bad = f->contents;
    bad.targets[0].kernel_count = 1;
    must_fail(package_write(&bad, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, "1 kernels");
    bad = f->contents;
    bad.blueprint_json = "{ \"format\":\"urza.blueprint/1}";
    must_fail(package_write(&bad, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, "blueprint.json");
    bad = f->contents;
    bad.evidence_json = "{\"p50_ns\" :1}";
    must_fail(package_write(&bad, NULL, &out, id, &f->err), &f->err, ERR_PACKAGE, "canonical");
    assert_int_equal(out.size_bytes, 0);
}

/* Lets the arena run out of memory at every allocation in turn. The address sanitizer shows that
 * nothing leaks. */
static void runs_out_of_memory(void **state)
{
    struct fixture *f = *state;
    char id[KERNEL_ID_BYTES];
    struct strbuf package = write_package(f, true, id);
    static struct package_contents found;
    static struct arena arena;
    static size_t limit, jumps;
    jmp_buf oom;
    arena_init(&arena);
    arena.oom = &oom;
    jumps = 0;
    for (limit = 1;; limit += 251) {
        arena.limit_bytes = limit;
        if (setjmp(oom) == 0) {
            must(package_read(package.data, package.size_bytes,
                              &(struct trust){TRUST_REQUIRE, &f->trusted}, &arena, &found, &f->err),
                 &f->err);
            break;
        }
        assert_ptr_equal(arena.oom, &oom);
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
        TEST(manifest_text),
        TEST(same_contents_same_bytes),
        TEST(refuses_every_flip_and_cut),
        TEST(trust),
        TEST(signed_parts_cannot_change),
        TEST(refuses_contradictions),
        TEST(tells_what_is_no_package),
        TEST(refuses_other_entries),
        TEST(runs_out_of_memory),
        TEST(looks_like_itself),
        TEST(interpreter_only),
        TEST(refuses_to_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
