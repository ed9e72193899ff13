/* A tuner whose memory runs out, at each allocation in turn: the call returns an error or a warning
 * is given, nothing leaks, and the tuner can still be used. */
#include "tuner/test_util.h"

#include "base/faults_test_util.h"

#include <dirent.h>
#include <sys/wait.h>

#include "compiler/compile.h"

#define SAMPLE 100 /* allocations in LLVM that are tested; all of them with --exhaustive */
static bool exhaustive;

static void needs_counting(void)
{
    if (FAULTS_COUNTED)
        return;
    print_message("allocations cannot be counted under a sanitizer\n");
    skip();
}

/* Results of the calls: how many ran out of memory. Any other error fails the test. */
struct session {
    struct fixture *f;
    const struct invocation *a, *b;
    struct entry entry;
    uint32_t failed, warnings;
    char last[512];
};

static void note(void *user, const char *message)
{
    struct session *s = user;
    s->warnings++;
    snprintf(s->last, sizeof s->last, "%s", message);
}

static bool done(struct session *s, int code, const urza_error *err)
{
    if (code != 0 && code != ERR_NOMEM)
        fail_msg("allocation %llu: %d %s: %s", (unsigned long long)faults.fail_at, code, err->place,
                 err->message);
    s->failed += code != 0;
    return code == 0;
}

static void give_back(char **text)
{
    urza_tune_free(*text);
    *text = NULL;
}

static void ask_and_change(struct session *s, urza_tuner *tuner)
{
    urza_error err;
    urza_config_source source;
    char *text = NULL;
    if (done(s, urza_tuner_override(tuner, "kept", "{\"rows\":2}", &err), &err))
        done(s, urza_tuner_override(tuner, "kept", NULL, &err), &err);
    if (done(s, urza_tuner_choose(tuner, s->a->json, &text, &source, &err), &err))
        assert_true(source == URZA_CONFIG_HEURISTIC || source == URZA_CONFIG_PERSISTENT);
    give_back(&text);
    if (done(s, urza_tuner_overlay_push(tuner, "*", "{\"rows\":2}", &err), &err)) {
        if (done(s, urza_tuner_overlay_add(tuner, s->b->key, "{\"rows\":3}", &err), &err) &&
            done(s, urza_tuner_choose(tuner, s->b->json, &text, &source, &err), &err))
            assert_string_equal(text, "{\"rows\":3}");
        give_back(&text);
        done(s, urza_tuner_overlay_pop(tuner, &err), &err);
    }
    if (done(s, urza_tuner_policy_push(tuner, URZA_TUNE_REQUIRE, &err), &err))
        done(s, urza_tuner_policy_pop(tuner, &err), &err);
}

static void carry_over(struct session *s, urza_tuner *tuner)
{
    urza_error err;
    char *text = NULL, *all = NULL;
    uint32_t count;
    if (done(s, urza_tuner_list(tuner, &text, &err), &err))
        assert_true(text[0] == '[' && text[strlen(text) - 1] == ']');
    give_back(&text);
    if (done(s, urza_tuner_show(tuner, s->a->key, &text, &err), &err))
        assert_non_null(strstr(text, s->a->json));
    give_back(&text);
    if (done(s, urza_tuner_export(tuner, &all, &err), &err) &&
        done(s, urza_tuner_import(tuner, all, strlen(all), &count, &err), &err))
        assert_true(count >= 1);
    give_back(&all);
    if (done(s, urza_config_schema(&text, &err), &err))
        assert_non_null(strstr(text, "\"key\":\"rows\""));
    give_back(&text);
}

static void store_elsewhere(struct session *s)
{
    struct arena arena;
    struct cache_file file;
    struct device device;
    struct table table;
    struct warner quiet = {NULL, NULL};
    arena_init(&arena);
    device_ask(&arena, &device);
    cache_file_init(&file, &arena, s->f->folder, device.fingerprint);
    table_init(&table, &arena);
    table_merge(&table, &s->entry);
    cache_file_merge(&file, &table, true, &quiet);
    arena_release(&arena);
}

/* The folder must have nothing but the lock and a valid file. */
static void check_folder(struct session *s)
{
    struct arena arena;
    struct cache_damage found;
    struct table table;
    struct error err;
    DIR *folder = opendir(s->f->folder);
    assert_non_null(folder);
    for (struct dirent *name; (name = readdir(folder)) != NULL;) {
        char path[512], *text;
        size_t size;
        if (name->d_name[0] == '.' || strcmp(name->d_name, "lock") == 0)
            continue;
        if (!strstr(name->d_name, ".tuning") || strstr(name->d_name, ".damaged"))
            fail_msg("allocation %llu: '%s' is left", (unsigned long long)faults.fail_at,
                     name->d_name);
        snprintf(path, sizeof path, "%s/%s", s->f->folder, name->d_name);
        assert_true(file_read(path, 1 << 20, &text, &size, &err));
        arena_init(&arena);
        table_init(&table, &arena);
        assert_true(cache_parse(text, size, NULL, &table, &found, &err));
        assert_int_equal(found.lines, 0);
        arena_release(&arena);
        free(text);
    }
    closedir(folder);
}

/* Opens a tuner, uses it and closes it; allocation number fail_at fails. */
static void live(struct session *s, uint64_t fail_at, int mode)
{
    urza_tuner_options options = {
        .directory = s->f->folder, .record = 1, .on_warning = note, .user = s};
    urza_tuner *tuner = NULL;
    urza_error err = {0};
    uint32_t cleared;
    s->failed = s->warnings = 0;
    store_elsewhere(s);
    faults_begin(FAULTS_OURS, fail_at, mode);
    if (done(s, urza_tuner_open(&options, &tuner, &err), &err)) {
        ask_and_change(s, tuner);
        carry_over(s, tuner);
        if (done(s, urza_tuner_clear(tuner, PRODUCT_OP, &cleared, &err), &err))
            assert_true(cleared >= 1);
        urza_tuner_close(tuner);
    }
    faults_end();
    if (faults.live != 0)
        fail_msg("allocation %llu: %lld are not given back", (unsigned long long)fail_at,
                 (long long)faults.live);
    check_folder(s);
}

static void calls_survive_every_failed_allocation(void **state)
{
    struct fixture *f = *state;
    needs_counting();
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct invocation b = invocation_from(f, PRODUCT("25", "32", "16"));
    struct session s = {.f = f, .a = &a, .b = &b, .entry = entry_from(f, &a, 3, 1000)};
    uint32_t said = 0, warned = 0;
    live(&s, 0, 0); /* so that libraries fill their caches before allocations are counted */
    live(&s, 0, FAULTS_COLLECT);
    assert_int_equal(s.failed, 0);
    assert_int_equal(s.warnings, 0);
    uint32_t places = faults.place_count;
    uint64_t allocations = faults.count;
    for (uint32_t i = 0; i < places; i++) {
        live(&s, faults_place(i, places), 0);
        said += s.failed > 0;
        warned += s.warnings > 0;
    }
    print_message("%llu allocations at %u places: %u said, %u warned\n",
                  (unsigned long long)allocations, places, said, warned);
    assert_true(places > 200);
    assert_true(said + warned > places / 10 * 9); /* compaction is postponed, without an error, if
                                                     memory runs out */
}

/* Opens a tuner, measures one kernel and closes it; allocation number fail_at fails. */
static int tune(struct session *s, enum faults_of of, uint64_t fail_at, int mode)
{
    urza_tuner_options options = {.candidates_max = 3, .on_warning = note, .user = s};
    urza_tuner *tuner = NULL;
    urza_error err = {0};
    char *entry = NULL;
    s->failed = s->warnings = 0;
    faults_begin(of, fail_at, mode);
    int code = urza_tuner_open(&options, &tuner, &err);
    if (code == 0)
        code = urza_tuner_tune(tuner, s->a->json, 0.5, &entry, &err);
    done(s, code, &err);
    give_back(&entry);
    urza_tuner_close(tuner);
    faults_end();
    return code;
}

static void tuning_survives_every_failed_allocation(void **state)
{
    struct fixture *f = *state;
    needs_counting();
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct session s = {.f = f, .a = &a};
    assert_int_equal(tune(&s, FAULTS_OURS, 0, 0), 0);
    assert_int_equal(tune(&s, FAULTS_OURS, 0, FAULTS_COLLECT), 0);
    uint32_t places = faults.place_count, said = 0;
    uint64_t allocations = faults.count;
    for (uint32_t i = 0; i < places; i++) {
        said += tune(&s, FAULTS_OURS, faults_place(i, places), 0) != 0;
        if (faults.live != 0)
            fail_msg("allocation %llu: %lld are not given back", (unsigned long long)faults.fail_at,
                     (long long)faults.live);
    }
    print_message("%llu allocations at %u places: %u said\n", (unsigned long long)allocations,
                  places, said);
    assert_true(places > 150);
    assert_true(said > places / 10 * 9); /* qsort works without its temporary memory */
}

static void tuning_ends_where_llvm_has_no_memory(void **state)
{
    struct fixture *f = *state;
    needs_counting();
    struct invocation a = invocation_from(f, PRODUCT("24", "32", "16"));
    struct session s = {.f = f, .a = &a};
    assert_int_equal(tune(&s, FAULTS_LLVM, 0, 0), 0);
    assert_int_equal(tune(&s, FAULTS_LLVM, 0, FAULTS_COLLECT), 0);
    uint32_t places = faults.place_count, ended = 0;
    uint32_t tries = exhaustive || places < SAMPLE ? places : SAMPLE;
    uint64_t allocations = faults.count;
    for (uint32_t i = 0; i < tries; i++) {
        int status;
        uint64_t n = faults_place(i, tries);
        pid_t child = fork();
        if (child == 0) {
            compile_in_child();
            int code = tune(&s, FAULTS_LLVM, n, 0);
            _exit(code == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (status != 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == error_exit(ERR_NOMEM)))
            fail_msg("allocation %llu: status %x", (unsigned long long)n, (unsigned)status);
        ended += status != 0;
    }
    print_message("%llu allocations at %u places, %u tried: %u ended\n",
                  (unsigned long long)allocations, places, tries, ended);
    assert_true(places > 500);
    assert_true(ended > tries / 10 * 9);
}

int main(int argc, char **argv)
{
    exhaustive = argc > 1 && strcmp(argv[1], "--exhaustive") == 0;
    const struct CMUnitTest tests[] = {
        TUNER_TEST(calls_survive_every_failed_allocation),
        TUNER_TEST(tuning_survives_every_failed_allocation),
        TUNER_TEST(tuning_ends_where_llvm_has_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
