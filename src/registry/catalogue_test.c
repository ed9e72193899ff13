/* The catalogue's contract, for every driver, alone and under a fault injector that injects
 * nothing; and the checks before the drivers. */
#include "registry/test_util.h"

#include <pthread.h>

#include "registry/faults.h"

/* One kind of catalogue. */
struct way {
    const char *name;
    const char *driver;
    bool faulty;
    bool lasts; /* commits are still there after close and open */
};
static const struct way ways[] = {
    {"memory", "memory", false, false},
    {"memory below faulty", "memory", true, false},
    {"sqlite", "sqlite", false, true},
    {"sqlite below faulty", "sqlite", true, true},
};
#define WAYS (sizeof ways / sizeof ways[0])

struct stage {
    struct bed *bed;
    const struct way *way;
    struct faults faults;
    struct catalogue *catalogue;
};

static void stage_open(struct stage *stage)
{
    struct bed *bed = stage->bed;
    char url[128];
    snprintf(url, sizeof url, "%s:%s/%zu.db", stage->way->driver, bed->folder,
             (size_t)(stage->way - ways));
    ASSERT_OK(bed, catalogue_open(url, &stage->catalogue, &bed->err));
    if (stage->way->faulty)
        stage->catalogue = catalogue_faulty(stage->catalogue, &stage->faults);
    assert_non_null(stage->catalogue);
}

/* Closes and opens again, if that preserves commits. */
static void stage_reopen(struct stage *stage)
{
    if (!stage->way->lasts)
        return;
    catalogue_close(stage->catalogue);
    stage_open(stage);
}

/* Runs one case on all kinds of catalogue. */
static void each_way(void **state, void (*body)(struct stage *stage))
{
    for (size_t i = 0; i < WAYS; i++) {
        struct stage stage = {.bed = *state, .way = &ways[i]};
        stage_open(&stage);
        print_message("# %s\n", ways[i].name);
        body(&stage);
        ASSERT_OK(stage.bed, catalogue_check(stage.catalogue, &stage.bed->err));
        catalogue_close(stage.catalogue);
    }
}

static struct kernel_record *kernel_of(struct stage *stage, const char *id)
{
    void *found = NULL;
    ASSERT_OK(stage->bed, catalogue_get(stage->catalogue, RECORD_kernel, id, &stage->bed->arena,
                                        &found, &stage->bed->err));
    return found;
}

/* A kernel with a value in every field. */
static struct kernel_record *full_kernel(struct arena *arena, const char *id)
{
    struct kernel_record *k = record_new(RECORD_kernel, arena);
    const struct record_type *type = record_type(RECORD_kernel);
    k->head.id = id;
    for (uint32_t i = 0; i < type->field_count; i++) {
        char *at = (char *)k + type->fields[i].offset, text[64];
        int64_t integer = -(int64_t)i - ((int64_t)1 << 60);
        double real = 0.1 * i;
        snprintf(text, sizeof text, ",%s,x%u,", type->fields[i].name, i);
        const char *copy = arena_strdup(arena, text);
        switch (type->fields[i].type) {
        case FIELD_INTEGER: memcpy(at, &integer, sizeof integer); break;
        case FIELD_REAL: memcpy(at, &real, sizeof real); break;
        case FIELD_TEXT:
        case FIELD_LIST:
        case FIELD_JSON: memcpy(at, &copy, sizeof copy); break;
        case FIELD_NONE: assert_true(false);
        }
    }
    return k;
}

static void puts_gets_removes(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct kernel_record *k = full_kernel(&bed->arena, "k-1");
    assert_null(kernel_of(stage, "k-1"));
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    stage_reopen(stage);
    struct kernel_record *back = kernel_of(stage, "k-1");
    assert_same_fields(RECORD_kernel, k, back);
    assert_true(back->head.serial > 0 && back->head.revision > 0);

    back->status = "RETIRED";
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_ANY, back, &bed->err));
    struct kernel_record *again = kernel_of(stage, "k-1");
    assert_same_fields(RECORD_kernel, back, again);
    assert_int_equal(again->head.serial, back->head.serial);
    assert_true(again->head.revision > back->head.revision);

    ASSERT_OK(bed, remove_one(stage->catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    ASSERT_OK(bed, remove_one(stage->catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    assert_null(kernel_of(stage, "k-1"));
    stage_reopen(stage);
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_NEW, k, &bed->err));
    back = kernel_of(stage, "k-1");
    assert_true(back->head.serial > again->head.serial); /* serials are never reused */
    assert_true(back->head.revision > again->head.revision);
    ASSERT_OK(bed, catalogue_commit(stage->catalogue, NULL, 0, &bed->err));
}

static void expectations(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct alias_record *a = record_new(RECORD_alias, &bed->arena);
    void *back = NULL;
    a->head.id = "prod";
    a->kernel = "1";
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 commit_one(stage->catalogue, RECORD_alias, EXPECT_SAME, a, &bed->err));
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 remove_one(stage->catalogue, RECORD_alias, EXPECT_SAME, a, &bed->err));
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_alias, EXPECT_NEW, a, &bed->err));
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 commit_one(stage->catalogue, RECORD_alias, EXPECT_NEW, a, &bed->err));
    ASSERT_OK(bed,
              catalogue_get(stage->catalogue, RECORD_alias, "prod", &bed->arena, &back, &bed->err));
    struct alias_record *old = record_copy(RECORD_alias, back, &bed->arena);
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_alias, EXPECT_SAME, back, &bed->err));
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 commit_one(stage->catalogue, RECORD_alias, EXPECT_SAME, old, &bed->err));
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 remove_one(stage->catalogue, RECORD_alias, EXPECT_SAME, old, &bed->err));
    /* Removed and put again: not the record that was read. */
    ASSERT_OK(bed,
              catalogue_get(stage->catalogue, RECORD_alias, "prod", &bed->arena, &back, &bed->err));
    ASSERT_OK(bed, remove_one(stage->catalogue, RECORD_alias, EXPECT_SAME, back, &bed->err));
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_alias, EXPECT_NEW, a, &bed->err));
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 commit_one(stage->catalogue, RECORD_alias, EXPECT_SAME, back, &bed->err));
    ASSERT_FAILS(bed, ERR_CONFLICT,
                 commit_one(stage->catalogue, RECORD_alias, EXPECT_SAME, old, &bed->err));
}

static void all_or_nothing(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct alias_record *a = record_new(RECORD_alias, &bed->arena);
    struct alias_record *b = record_new(RECORD_alias, &bed->arena);
    struct event_record *e = record_new(RECORD_event, &bed->arena);
    void *back = NULL;
    a->head.id = "a";
    a->kernel = "1";
    b->head.id = "b";
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_alias, EXPECT_NEW, a, &bed->err));
    struct alias_record *changed = record_copy(RECORD_alias, a, &bed->arena);
    changed->kernel = "2";
    struct change changes[] = {
        {RECORD_event, EXPECT_NEW, false, e},       {RECORD_alias, EXPECT_NEW, false, b},
        {RECORD_alias, EXPECT_ANY, false, changed}, {RECORD_alias, EXPECT_ANY, true, b},
        {RECORD_alias, EXPECT_ANY, true, changed},  {RECORD_alias, EXPECT_NEW, false, changed},
        {RECORD_alias, EXPECT_NEW, false, changed},
    };
    ASSERT_FAILS(bed, ERR_CONFLICT, catalogue_commit(stage->catalogue, changes, 7, &bed->err));
    for (int round = 0; round < 2; round++) {
        struct totals totals;
        ASSERT_OK(
            bed, catalogue_get(stage->catalogue, RECORD_alias, "a", &bed->arena, &back, &bed->err));
        assert_string_equal(((struct alias_record *)back)->kernel, round == 0 ? "1" : "2");
        struct query query = {.kind = RECORD_event};
        ASSERT_OK(bed, catalogue_total(stage->catalogue, &query, NULL, &totals, &bed->err));
        assert_int_equal(totals.count, round);
        if (round == 0)
            ASSERT_OK(bed, catalogue_commit(stage->catalogue, changes, 6, &bed->err));
        stage_reopen(stage);
    }
}

static void ids_from_serials(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct kernel_record *k = record_new(RECORD_kernel, &bed->arena);
    k->head.id = "3";
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_NEW, k, &bed->err));
    k->head.id = "";
    for (int i = 0; i < 3; i++) { /* 2, then 4 since 3 is taken, then 5 */
        ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_NEW, k, &bed->err));
        stage_reopen(stage);
    }
    static const char *const ids[] = {"3", "2", "4", "5"};
    struct records found;
    struct query query = {.kind = RECORD_kernel, .limit = 10};
    ASSERT_OK(bed, catalogue_list(stage->catalogue, &query, &bed->arena, &found, &bed->err));
    assert_int_equal(found.count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct record *record = found.items[i];
        assert_string_equal(record->id, ids[i]);
        if (i > 0)
            assert_int_equal(record->serial, atol(record->id));
    }
}

/* The ids of the kernels that pass the filters, concatenated. */
static const char *ids_of(struct stage *stage, const struct filter *filters, uint32_t count)
{
    struct bed *bed = stage->bed;
    static char text[256];
    struct query query = {RECORD_kernel, filters, count, false, 0, 1000};
    struct records found;
    struct totals totals;
    text[0] = '\0';
    ASSERT_OK(bed, catalogue_list(stage->catalogue, &query, &bed->arena, &found, &bed->err));
    for (uint32_t i = 0; i < found.count; i++)
        strncat(text, ((struct record *)found.items[i])->id, 9);
    ASSERT_OK(bed, catalogue_total(stage->catalogue, &query, "version", &totals, &bed->err));
    assert_int_equal(totals.count, found.count);
    return text;
}
#define IDS(...)                                        \
    ids_of(stage, (const struct filter[]){__VA_ARGS__}, \
           sizeof((struct filter[]){__VA_ARGS__}) / sizeof(struct filter))

static void filters(struct stage *stage)
{
    struct bed *bed = stage->bed;
    static const struct {
        const char *id, *status, *tags;
        int64_t size, used;
        double latency;
    } rows[] = {
        {"a", "DEPLOYED", ",x,yy,", 10, INT64_MAX, 0.5},
        {"b", "DEPLOYED", ",yy,", 20, INT64_MAX - 1, 1.5},
        {"c", "RETIRED", "", -5, INT64_MIN, 2},
        {"d", "deployed", ",x y,y,", 0, ((int64_t)1 << 53) + 1, 1e300},
    };
    for (size_t i = 0; i < 4; i++) {
        struct kernel_record *k = record_new(RECORD_kernel, &bed->arena);
        k->head.id = rows[i].id;
        k->status = rows[i].status;
        k->tags = rows[i].tags;
        k->size_bytes = rows[i].size;
        k->used_ms = rows[i].used;
        k->latency_us = rows[i].latency;
        k->version = (int64_t)i;
        ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_NEW, k, &bed->err));
    }
    assert_string_equal(ids_of(stage, NULL, 0), "abcd");
    assert_string_equal(IDS({"status", FILTER_IS, "DEPLOYED", 0}), "ab");
    assert_string_equal(IDS({"status", FILTER_IS_NOT, "DEPLOYED", 0}), "cd");
    assert_string_equal(IDS({"status", FILTER_IS, "", 0}), "");
    assert_string_equal(IDS({"tags", FILTER_HAS, "yy", 0}), "ab");
    assert_string_equal(IDS({"tags", FILTER_HAS, "y", 0}), "d");
    assert_string_equal(IDS({"tags", FILTER_HAS, "x y", 0}), "d");
    assert_string_equal(IDS({"tags", FILTER_HAS, "", 0}), "");
    assert_string_equal(IDS({"tags", FILTER_HAS, "x,yy", 0}), "");
    assert_string_equal(IDS({"tags", FILTER_HAS, "%", 0}), "");
    assert_string_equal(IDS({"size_bytes", FILTER_IS, NULL, 0}), "d");
    assert_string_equal(IDS({"size_bytes", FILTER_IS_NOT, NULL, 10}), "bcd");
    assert_string_equal(IDS({"size_bytes", FILTER_AT_LEAST, NULL, 9.5}), "ab");
    assert_string_equal(IDS({"size_bytes", FILTER_AT_MOST, NULL, 10}), "acd");
    assert_string_equal(IDS({"used_ms", FILTER_AT_LEAST, NULL, 0x1p63}), "");
    assert_string_equal(IDS({"used_ms", FILTER_AT_MOST, NULL, -0x1p63}), "c");
    assert_string_equal(IDS({"used_ms", FILTER_AT_MOST, NULL, 0x1p53}), "c");
    assert_string_equal(IDS({"used_ms", FILTER_AT_LEAST, NULL, 0x1p53}), "abd");
    assert_string_equal(IDS({"latency_us", FILTER_AT_LEAST, NULL, 1.5}), "bcd");
    assert_string_equal(IDS({"latency_us", FILTER_AT_MOST, NULL, 1.5}), "ab");
    assert_string_equal(IDS({"status", FILTER_IS, "DEPLOYED", 0}, {"tags", FILTER_HAS, "x", 0},
                            {"size_bytes", FILTER_AT_MOST, NULL, 10}),
                        "a");
    struct totals totals;
    struct query query = {.kind = RECORD_kernel};
    ASSERT_OK(bed, catalogue_total(stage->catalogue, &query, "size_bytes", &totals, &bed->err));
    assert_true(totals.count == 4 && totals.sum == 25);
    ASSERT_OK(bed, catalogue_total(stage->catalogue, &query, "latency_us", &totals, &bed->err));
    assert_true(totals.sum == 1e300);
}

static void pages(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct change changes[100];
    for (int64_t i = 0; i < 100; i++) {
        struct event_record *e = record_new(RECORD_event, &bed->arena);
        e->kind = i % 3 == 0 ? "damage" : "evidence";
        e->at_ms = i;
        changes[i] = (struct change){RECORD_event, EXPECT_NEW, false, e};
    }
    ASSERT_OK(bed, catalogue_commit(stage->catalogue, changes, 100, &bed->err));
    for (int newest_first = 0; newest_first < 2; newest_first++) {
        struct filter filter = {"kind", FILTER_IS, "damage", 0};
        struct query query = {RECORD_event, &filter, 1, newest_first != 0, 0, 7};
        struct records found;
        int64_t expected = newest_first ? 99 : 0, count = 0;
        do {
            ASSERT_OK(bed,
                      catalogue_list(stage->catalogue, &query, &bed->arena, &found, &bed->err));
            for (uint32_t i = 0; i < found.count; i++, count++) {
                const struct event_record *e = found.items[i];
                assert_int_equal(e->at_ms, expected);
                expected += newest_first ? -3 : 3;
                query.after = e->head.serial;
            }
        } while (found.count == 7);
        assert_int_equal(count, 34);
    }
}

static void odd_texts(struct stage *stage)
{
    static const char *const texts[] = {
        "'); DROP TABLE kernel; --",
        "\"kernel\"",
        "?1",
        "%s%n",
        "\xf0\x9f\xa6\x8a ü \xe4\xb8\xad",
        "line\nline\ttab",
        "NULL",
        "-0",
        "1e5",
        "'",
        "\\",
        "\x01\x1f\x7f",
    };
    struct bed *bed = stage->bed;
    struct blueprint_record *b = record_new(RECORD_blueprint, &bed->arena);
    void *back = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        bool plain = strpbrk(texts[i], "\n\x01") == NULL;
        b->head.id = plain ? texts[i] : "other";
        b->name = b->status = b->metadata = texts[i];
        ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_blueprint, EXPECT_ANY, b, &bed->err));
        ASSERT_OK(bed, catalogue_get(stage->catalogue, RECORD_blueprint, b->head.id, &bed->arena,
                                     &back, &bed->err));
        assert_same_fields(RECORD_blueprint, b, back);
        struct filter filter = {"status", FILTER_IS, texts[i], 0};
        struct query query = {RECORD_blueprint, &filter, 1, false, 0, 10};
        struct records found;
        ASSERT_OK(bed, catalogue_list(stage->catalogue, &query, &bed->arena, &found, &bed->err));
        assert_int_equal(found.count, 1);
    }
    char *large = arena_alloc(&bed->arena, (1 << 20) + 1, 1), id[201];
    memset(large, 'x', 1 << 20);
    memset(id, 'i', 200);
    id[200] = '\0';
    b->head.id = id;
    b->metadata = large;
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_blueprint, EXPECT_NEW, b, &bed->err));
    stage_reopen(stage);
    ASSERT_OK(bed,
              catalogue_get(stage->catalogue, RECORD_blueprint, id, &bed->arena, &back, &bed->err));
    assert_same_fields(RECORD_blueprint, b, back);
}

/* If the caller's arena is too small, the call fails, and the catalogue still works. */
static void small_arenas(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct kernel_record *k = full_kernel(&bed->arena, "");
    for (int i = 0; i < 10; i++)
        ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_kernel, EXPECT_NEW, k, &bed->err));
    struct query query = {.kind = RECORD_kernel, .limit = 10};
    bool done = false;
    for (size_t limit = 1; !done; limit *= 2) {
        struct arena arena;
        struct records found;
        void *back = &query;
        arena_init(&arena);
        arena.limit_bytes = limit;
        bed->err.code = ERR_NOMEM;
        if (!catalogue_get(stage->catalogue, RECORD_kernel, "1", &arena, &back, &bed->err))
            assert_ptr_equal(back, &query);
        assert_int_equal(bed->err.code, ERR_NOMEM);
        done = catalogue_list(stage->catalogue, &query, &arena, &found, &bed->err);
        assert_int_equal(bed->err.code, ERR_NOMEM);
        assert_null(arena.oom);
        arena_release(&arena);
    }
}

struct racer {
    struct stage *stage;
    pthread_t thread;
    int won;
};

#define RACERS 6
#define ROUNDS 40

/* Reads and writes back until it has won ROUNDS times. */
static void *race(void *context)
{
    struct racer *racer = context;
    struct catalogue *catalogue = racer->stage->catalogue;
    while (racer->won < ROUNDS) {
        struct arena arena;
        struct error err;
        void *back = NULL;
        arena_init(&arena);
        if (!catalogue_get(catalogue, RECORD_tuning, "counter", &arena, &back, &err) || !back)
            abort();
        ((struct tuning_record *)back)->at_ms++;
        if (commit_one(catalogue, RECORD_tuning, EXPECT_SAME, back, &err))
            racer->won++;
        else if (err.code != ERR_CONFLICT)
            abort();
        arena_release(&arena);
    }
    return NULL;
}

static void exactly_one_wins(struct stage *stage)
{
    struct bed *bed = stage->bed;
    struct tuning_record *t = record_new(RECORD_tuning, &bed->arena);
    struct racer racers[RACERS];
    void *back = NULL;
    t->head.id = "counter";
    ASSERT_OK(bed, commit_one(stage->catalogue, RECORD_tuning, EXPECT_NEW, t, &bed->err));
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.stage = stage};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(racers[i].thread, NULL);
    ASSERT_OK(bed, catalogue_get(stage->catalogue, RECORD_tuning, "counter", &bed->arena, &back,
                                 &bed->err));
    assert_int_equal(((struct tuning_record *)back)->at_ms, RACERS * ROUNDS);
}

#define CASE(name)                        \
    static void name##_case(void **state) \
    {                                     \
        each_way(state, name);            \
    }
CASE(puts_gets_removes)
CASE(expectations)
CASE(all_or_nothing)
CASE(ids_from_serials)
CASE(filters)
CASE(pages)
CASE(odd_texts)
CASE(small_arenas)
CASE(exactly_one_wins)

static void wrong_arguments(void **state)
{
    struct bed *bed = *state;
    struct catalogue *catalogue;
    struct records found;
    struct totals totals;
    ASSERT_FAILS(bed, ERR_USAGE, catalogue_open("nothing:x", &catalogue, &bed->err));
    ASSERT_FAILS(bed, ERR_USAGE, catalogue_open("memory", &catalogue, &bed->err));
    ASSERT_FAILS(bed, ERR_USAGE, catalogue_open("sqlite:", &catalogue, &bed->err));
    ASSERT_FAILS(bed, ERR_USAGE, catalogue_open("sqlite:/tmp/", &catalogue, &bed->err));
    ASSERT_OK(bed, catalogue_open("memory:", &catalogue, &bed->err));

    struct kernel_record *k = record_new(RECORD_kernel, &bed->arena);
    char long_id[202];
    memset(long_id, 'x', 201);
    long_id[201] = '\0';
    const char *const ids[] = {
        NULL, long_id, "a\nb", "\x7f", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xb8"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        k->head.id = ids[i];
        ASSERT_FAILS(bed, ERR_BUG, commit_one(catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    }
    k->head.id = "";
    ASSERT_FAILS(bed, ERR_BUG, commit_one(catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    ASSERT_FAILS(bed, ERR_BUG, remove_one(catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    k->head.id = "k";
    ASSERT_FAILS(bed, ERR_BUG, remove_one(catalogue, RECORD_kernel, EXPECT_NEW, k, &bed->err));
    static const char *const lists[] = {NULL, "a", ",", ",,", ",a", "a,", ",a,,b,", ",\xff,"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        k->tags = lists[i];
        ASSERT_FAILS(bed, ERR_BUG, commit_one(catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    }
    k->tags = "";
    k->compile_ms = 0.0 / 0.0;
    ASSERT_FAILS(bed, ERR_BUG, commit_one(catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));
    k->compile_ms = 0;
    k->reason = arena_alloc(&bed->arena, ((size_t)64 << 20) + 1, 1);
    memset((char *)k->reason, 'x', (size_t)64 << 20);
    ASSERT_FAILS(bed, ERR_LIMIT, commit_one(catalogue, RECORD_kernel, EXPECT_ANY, k, &bed->err));

    const struct filter wrong[] = {
        {"nothing", FILTER_IS, "", 0},  {"reason", FILTER_IS, "", 0},
        {"status", FILTER_HAS, "", 0},  {"status", FILTER_AT_LEAST, "", 0},
        {"status", FILTER_IS, NULL, 0}, {"tags", FILTER_IS, "", 0},
        {"tags", FILTER_HAS, NULL, 0},  {"latency_us", FILTER_IS, NULL, 0},
        {"status", FILTER_NONE, "", 0}, {"used_ms", FILTER_IS, NULL, 0.0 / 0.0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct query query = {RECORD_kernel, &wrong[i], 1, false, 0, 1};
        ASSERT_FAILS(bed, ERR_BUG,
                     catalogue_list(catalogue, &query, &bed->arena, &found, &bed->err));
        ASSERT_FAILS(bed, ERR_BUG, catalogue_total(catalogue, &query, NULL, &totals, &bed->err));
    }
    const struct query queries[] = {
        {.kind = RECORD_kernel, .limit = 0},
        {.kind = RECORD_kernel, .limit = 1001},
        {.kind = RECORD_kernel, .limit = 1, .after = -1},
        {.kind = RECORD_kernel, .limit = 1, .filter_count = FILTERS_MOST + 1},
    };
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++)
        ASSERT_FAILS(bed, ERR_BUG,
                     catalogue_list(catalogue, &queries[i], &bed->arena, &found, &bed->err));
    ASSERT_FAILS(bed, ERR_BUG,
                 catalogue_total(catalogue, &queries[0], "status", &totals, &bed->err));
    catalogue_close(catalogue);
    catalogue_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(puts_gets_removes_case), TEST(expectations_case), TEST(all_or_nothing_case),
        TEST(ids_from_serials_case),  TEST(filters_case),      TEST(pages_case),
        TEST(odd_texts_case),         TEST(small_arenas_case), TEST(exactly_one_wins_case),
        TEST(wrong_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
