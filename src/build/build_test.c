/* The pipeline and its public interface: packages do not depend on which process forks; steps,
 * degrading, keys, cancelling, many jobs at once. */
#include <fenv.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/child.h"
#include "base/file.h"
#include "build/build.h"
#include "build/spawner.h"
#include "compiler/loop/loop.h"
#include "urza/compile.h"

#include <cmocka.h>

struct bed {
    struct arena arena;
    struct error err;
    char folder[64], *text;
    size_t size;
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof *bed);
    *state = bed;
    arena_init(&bed->arena);
    snprintf(bed->folder, sizeof bed->folder, "/tmp/urza-build-XXXXXX");
    return mkdtemp(bed->folder) &&
                   file_read("examples/mlp.json", 1 << 20, &bed->text, &bed->size, &bed->err)
               ? 0
               : -1;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", bed->folder);
    int status = system(command);
    arena_release(&bed->arena);
    free(bed->text);
    free(bed);
    return status;
}

struct steps {
    const char *home;
    enum build_step steps[16];
    uint32_t count;
};

static void note(void *context, enum build_step step)
{
    struct steps *steps = context;
    assert_true(steps->count < 16);
    steps->steps[steps->count++] = step;
}

static bool open_key(void *context, struct signing_key *out, struct error *err)
{
    const struct steps *steps = context;
    return keys_open(steps->home, out, err);
}

static struct build_request request_of(struct bed *bed, struct steps *steps)
{
    steps->home = bed->folder;
    return (struct build_request){
        .source = bed->text,
        .size = bed->size,
        .compile = {.strategy = STRATEGY_STANDARD, .targets = "x86-64-v2"},
        .open_key = open_key,
        .on_step = note,
        .context = steps};
}

/* Packages are equal byte for byte, except for times in the evidence. */
static void whoever_forks(void **state)
{
    struct bed *bed = *state;
    struct steps steps = {0};
    struct build_request request = request_of(bed, &steps);
    struct build_result own, other;
    assert_true(build_run(&request, &bed->arena, &own, &bed->err));
    assert_int_equal(steps.count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(steps.steps[i], BUILD_COMPILE + i);
    request.spawner = spawner_start(&bed->err);
    assert_non_null(request.spawner);
    assert_true(build_run(&request, &bed->arena, &other, &bed->err));
    assert_string_equal(own.compiled.kernel_id, other.compiled.kernel_id);
    assert_int_equal(own.package_bytes, other.package_bytes);
    assert_memory_equal(own.package, other.package, own.package_bytes);
    assert_true(own.evidence_bytes > 100 && own.verify_ms > 0 && own.degraded_count == 0);
    assert_int_not_equal(own.compiled.passes, 0);
    assert_int_equal(own.compiled.passes, other.compiled.passes);
    struct trusted_keys trusted;
    struct package_contents *contents = ARENA_NEW(&bed->arena, struct package_contents);
    assert_true(keys_trusted(bed->folder, &bed->arena, &trusted, &bed->err));
    assert_true(package_read(own.package, own.package_bytes,
                             &(struct trust){TRUST_REQUIRE, &trusted}, &bed->arena, contents,
                             &bed->err));
    assert_int_equal(contents->evidence_bytes, own.evidence_bytes);
    spawner_stop(request.spawner);
}

static void found_in_the_cache(void **state)
{
    struct bed *bed = *state;
    char folder[96];
    snprintf(folder, sizeof folder, "%s/cache", bed->folder);
    struct cache *cache = cache_new(&(struct cache_options){.folder = folder});
    struct steps steps = {0};
    struct build_request request = request_of(bed, &steps);
    request.compile.cache = cache;
    request.compile.strategy = STRATEGY_FAST;
    request.spawner = spawner_start(&bed->err);
    struct build_result first, second;
    assert_true(build_run(&request, &bed->arena, &first, &bed->err));
    assert_true(first.compiled.found == CACHE_NONE && !first.evidence && first.verify_ms < 0);
    const struct compile_result fast = first.compiled; /* memory is in the arena */
    assert_true(build_run(&request, &bed->arena, &second, &bed->err));
    assert_int_equal(second.compiled.found, CACHE_MEMORY);
    assert_memory_equal(first.package, second.package, first.package_bytes);
    build_release(&request, &first);
    build_release(&request, &second);
    cache_free(cache);
    request.compile.cache = cache = cache_new(&(struct cache_options){.folder = folder});
    assert_true(build_run(&request, &bed->arena, &second, &bed->err));
    assert_int_equal(second.compiled.found, CACHE_DISK);
    build_release(&request, &second);
    /* An entry of the cache that is under the wrong source's name, say, is not used. */
    struct compile_options other = request.compile;
    other.strategy = STRATEGY_EMERGENCY;
    assert_true(fast.cacheable);
    compile_store(bed->text, bed->size, &other, &fast);
    assert_true(compile_find(bed->text, bed->size, &other, &second.compiled));
    compile_release(&other, &second.compiled);
    request.compile.strategy = STRATEGY_EMERGENCY;
    assert_true(build_run(&request, &bed->arena, &second, &bed->err));
    assert_int_equal(second.compiled.found, CACHE_NONE);
    assert_int_equal(second.compiled.kernels, 0);
    build_release(&request, &second);
    cache_free(cache);
    spawner_stop(request.spawner);
}

/* A child may send back anything. */
static void answers_are_not_believed(void **state)
{
    struct bed *bed = *state;
    struct compile_result said = {.kernels = 3}, heard;
    static const char warnings[] = "fine\0b\xff"
                                   "d\x1b[31m";
    struct child_answer answer = {
        .parts = {{&said, sizeof said},
                  {"no package", 10},
                  {NULL, 0},
                  {arena_memdup(&bed->arena, warnings, sizeof warnings), sizeof warnings}}};
    memset(said.kernel_id, 'f', sizeof said.kernel_id);
    assert_false(compile_take_answer(&answer, &heard, &bed->err));
    assert_int_equal(bed->err.code, ERR_COMPILER_DIED);
    memcpy(said.kernel_id, "kernel-", 7);
    said.kernel_id[KERNEL_ID_BYTES - 1] = '\0';
    memset(&said.cacheable, 0xff, 1);
    assert_true(compile_take_answer(&answer, &heard, &bed->err));
    assert_string_equal(heard.warnings, "fine");
    assert_string_equal(heard.warnings + 5, "b?d\x1b[31m");
    assert_false(heard.cacheable);
    said.kernel_id[9] = 'F';
    assert_false(compile_take_answer(&answer, &heard, &bed->err));
}

static bool refuse_to_choose(void *context, const struct kernel_question *question,
                             struct config *out, struct error *err)
{
    (void)context, (void)question, (void)out;
    err->code = ERR_COMPILE;
    snprintf(err->message, sizeof err->message, "no config today");
    return false;
}

/* Changes a kernel, so that its results are wrong. */
static void damage(void *context, const struct compile_view *view)
{
    (void)context;
    for (uint32_t i = 0; view->stage == STAGE_LOWER && i < view->nest_count; i++)
        for (uint32_t e = 1; e < view->nests[i]->exprs.count; e++)
            if (view->nests[i]->exprs.items[e].op == EXPR_MUL)
                view->nests[i]->exprs.items[e].op = EXPR_ADD;
}

static void degrades(void **state)
{
    struct bed *bed = *state;
    struct steps steps = {0};
    struct build_request request = request_of(bed, &steps);
    struct build_result result;
    const struct config_chooser chooser = {refuse_to_choose, NULL};
    const struct compile_observer observer = {.see = damage};
    request.compile.chooser = &chooser;
    assert_false(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(bed->err.code, ERR_COMPILE);
    request.degrade = true;
    assert_true(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(result.degraded_count, 1);
    assert_string_equal(result.degraded[0].what, "graph passes");
    assert_string_equal(result.degraded[0].why, "no config today");
    assert_true(result.evidence && result.compiled.kernels > 0);
    request.compile.chooser = NULL;
    request.compile.observer = &observer;
    assert_true(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(result.degraded_count, 2);
    assert_string_equal(result.degraded[1].what, "code");
    assert_true(result.evidence && result.compiled.kernels == 0);
    request.degrade = false;
    assert_false(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(bed->err.code, ERR_VERIFY);
}

/* A package that was returned before verification gets its evidence later, and keeps its id. */
static void verified_afterwards(void **state)
{
    struct bed *bed = *state;
    struct steps steps = {.count = 0};
    struct build_request request = request_of(bed, &steps);
    struct build_result fast, later;
    struct package_contents *contents = ARENA_NEW(&bed->arena, struct package_contents);
    struct trusted_keys trusted;
    request.compile.strategy = STRATEGY_FAST;
    assert_true(build_run(&request, &bed->arena, &fast, &bed->err));
    assert_null(fast.evidence);
    assert_true(
        build_verify(&request, fast.package, fast.package_bytes, &bed->arena, &later, &bed->err));
    assert_string_equal(later.compiled.kernel_id, fast.compiled.kernel_id);
    assert_true(later.evidence_bytes > 0);
    assert_true(keys_trusted(bed->folder, &bed->arena, &trusted, &bed->err));
    void *aligned = arena_alloc(&bed->arena, later.package_bytes, 64);
    memcpy(aligned, later.package, later.package_bytes);
    assert_true(package_read(aligned, later.package_bytes, &(struct trust){TRUST_REQUIRE, &trusted},
                             &bed->arena, contents, &bed->err));
    assert_int_equal(contents->evidence_bytes, later.evidence_bytes);
    assert_memory_equal(contents->evidence_json, later.evidence, later.evidence_bytes);

    /* A package signed by somebody else is not signed here. */
    struct steps other = {.count = 0};
    char folder[96];
    request = request_of(bed, &other);
    snprintf(folder, sizeof folder, "%s/other", bed->folder);
    other.home = folder;
    assert_false(
        build_verify(&request, fast.package, fast.package_bytes, &bed->arena, &later, &bed->err));
    assert_int_equal(bed->err.code, ERR_SIGNATURE);
}

/* Without a folder a source cannot name files, not even those in the current folder. */
static void sources_without_a_folder(void **state)
{
    struct bed *bed = *state;
    struct steps steps = {.count = 0};
    struct build_request request = request_of(bed, &steps);
    struct build_result result;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", "
        "\"shape\": [2]}], \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [2], "
        "\"init\": {\"kind\": \"file\", \"path\": \"README.md\"}}], \"nodes\": [{\"id\": \"y\", "
        "\"op\": \"add\", \"in\": [\"x\", \"w\"]}], \"outputs\": [\"y\"]}";
    request.source = text;
    request.size = sizeof text - 1;
    assert_false(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(bed->err.code, ERR_UNSUPPORTED);
    request.compile.folder = "."; /* now the file is read, and is not a valid array */
    assert_false(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_not_equal(bed->err.code, ERR_UNSUPPORTED);
}

static void errors_of_the_source_stand(void **state)
{
    struct bed *bed = *state;
    struct steps steps = {0};
    struct build_request request = request_of(bed, &steps);
    struct build_result result;
    request.degrade = true;
    request.compile.targets = "z80";
    assert_false(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(bed->err.code, ERR_TARGET);
    assert_int_equal(steps.count, 1);
    request.compile.targets = "x86-64-v2";
    request.dims = "Q=2";
    assert_false(build_run(&request, &bed->arena, &result, &bed->err));
    assert_int_equal(bed->err.code, ERR_USAGE);
    assert_int_equal(steps.count, 3);
}

static urza_compiler *open_compiler(struct bed *bed, const char *home)
{
    char cache[96];
    urza_error err;
    urza_compiler *compiler = NULL;
    snprintf(cache, sizeof cache, "%s/cache", bed->folder);
    const urza_compiler_options options = {.home = home, .cache_dir = cache};
    if (urza_compiler_open(&options, &compiler, &err) != 0)
        fail_msg("%s", err.message);
    return compiler;
}

static void public_jobs(void **state)
{
    struct bed *bed = *state;
    urza_compiler *compiler = open_compiler(bed, bed->folder);
    urza_error err = {0};
    urza_job *job = NULL;
    size_t size;
    const urza_compile_options native = {.targets = target_best_here()};
    if (urza_compile(compiler, bed->text, bed->size, &native, &job, &err) != 0)
        fail_msg("%s", err.message);
    const void *package = urza_job_package(job, &size);
    assert_non_null(strstr(urza_job_evidence(job), "\"pass\":true"));
    json_t *details = json_loads(urza_job_details(job), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(details, "kernel_id")),
                        urza_job_kernel_id(job));
    assert_int_equal(json_array_size(json_object_get(details, "degraded")), 0);
    assert_true(json_real_value(json_object_get(json_object_get(details, "stages_ms"), "verify")) >
                0);
    json_decref(details);
    uint8_t key[1][32];
    assert_int_equal(urza_compiler_key(compiler, key[0]), 1);
    const urza_load_options load = {.trusted_keys = key, .trusted_key_count = 1};
    urza_module *module;
    if (urza_load_memory(package, size, &load, &module, &err) != 0)
        fail_msg("%s", err.message);
    urza_unload(module);
    const urza_compile_options wrong = {.strategy = "hasty"};
    urza_job *none = NULL;
    assert_int_equal(urza_compile_start(compiler, bed->text, bed->size, &wrong, &none, &err),
                     ERR_USAGE);
    assert_int_equal(urza_compile(compiler, "{", 1, NULL, &none, &err), ERR_JSON);
    assert_null(none);
    urza_compiler_close(compiler);
    assert_non_null(urza_job_package(job, &size)); /* the package outlives the compiler */
    assert_string_equal(urza_error_name(urza_job_wait(job, 0, &err)), "None");
    urza_job_free(job);
}

static void jobs_are_cancelled(void **state)
{
    enum { JOBS = 12 };
    struct bed *bed = *state;
    urza_compiler *compiler = open_compiler(bed, NULL);
    urza_job *jobs[JOBS];
    urza_error err;
    uint8_t key[32];
    assert_int_equal(urza_compiler_key(compiler, key), 0);
    size_t size;
    char *text;
    assert_true(file_read("examples/conv_arch.json", 1 << 20, &text, &size, &bed->err));
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(urza_compile_start(compiler, text, size, NULL, &jobs[i], &err), 0);
    free(text);
    size_t bytes = 1;
    assert_int_equal(urza_job_wait(jobs[JOBS - 1], 0, &err), -1);
    assert_null(urza_job_package(jobs[JOBS - 1], &bytes));
    assert_int_equal(bytes, 0);
    urza_job_cancel(jobs[JOBS - 1]);
    assert_int_equal(urza_job_wait(jobs[JOBS - 1], -1, &err), ERR_CANCELLED);
    urza_job_free(jobs[JOBS - 1]);
    urza_job_free(jobs[0]); /* while the job is running */
    urza_compiler_close(compiler);
    for (int i = 1; i < JOBS - 1; i++) {
        assert_int_equal(urza_job_wait(jobs[i], 0, &err), ERR_CANCELLED);
        urza_job_free(jobs[i]);
    }
}

struct host {
    pthread_t thread;
    struct bed *bed;
    urza_compiler *compiler;
    char id[KERNEL_ID_BYTES];
};

static void *compile_some(void *context)
{
    struct host *host = context;
    for (int i = 0; i < 4; i++) {
        urza_job *job;
        urza_error err;
        const urza_compile_options fast = {.strategy = "fast", .targets = "x86-64-v2"};
        if (urza_compile(host->compiler, host->bed->text, host->bed->size, &fast, &job, &err) != 0)
            return NULL;
        snprintf(host->id, sizeof host->id, "%s", urza_job_kernel_id(job));
        urza_job_free(job);
    }
    return NULL;
}

static void many_threads(void **state)
{
    enum { HOSTS = 8 };
    struct bed *bed = *state;
    urza_compiler *compiler = open_compiler(bed, NULL);
    struct host hosts[HOSTS];
    for (int i = 0; i < HOSTS; i++) {
        hosts[i] = (struct host){.bed = bed, .compiler = compiler};
        assert_int_equal(pthread_create(&hosts[i].thread, NULL, compile_some, &hosts[i]), 0);
    }
    for (int i = 0; i < HOSTS; i++) {
        pthread_join(hosts[i].thread, NULL);
        assert_memory_equal(hosts[i].id, "kernel-", 7);
        assert_string_equal(hosts[i].id, hosts[0].id);
    }
    urza_compiler_close(compiler);
}

/* No descriptors and no processes are left. */
static void nothing_is_left(void **state)
{
    struct bed *bed = *state;
    int before = dup(0);
    close(before);
    for (int i = 0; i < 3; i++) {
        urza_compiler *compiler = open_compiler(bed, NULL);
        urza_job *job;
        urza_error err;
        const urza_compile_options fast = {.strategy = "fast", .targets = "x86-64-v2"};
        assert_int_equal(urza_compile(compiler, bed->text, bed->size, &fast, &job, &err), 0);
        urza_job_free(job);
        assert_int_not_equal(urza_compile(compiler, "[", 1, &fast, &job, &err), 0);
        urza_compiler_close(compiler);
    }
    int after = dup(0);
    close(after);
    assert_int_equal(after, before);
    const urza_compiler_options options = {.home = "/dev/null"};
    urza_compiler *compiler = NULL;
    urza_error err;
    assert_int_not_equal(urza_compiler_open(&options, &compiler, &err), 0);
    assert_null(compiler);
}

static void *wait_for_ever(void *job)
{
    urza_job_wait(job, -1, NULL);
    return NULL;
}

/* If a waiting thread is cancelled, other threads can still use the compiler. */
static void waiting_threads_are_cancelled(void **state)
{
    struct bed *bed = *state;
    urza_compiler *compiler = open_compiler(bed, NULL);
    urza_job *job;
    urza_error err;
    pthread_t thread;
    void *end;
    size_t size;
    char *text;
    assert_true(file_read("examples/conv_arch.json", 1 << 20, &text, &size, &bed->err));
    assert_int_equal(urza_compile_start(compiler, text, size, NULL, &job, &err), 0);
    free(text);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, job), 0);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &end);
    assert_ptr_equal(end, PTHREAD_CANCELED);
    urza_job_cancel(job);
    assert_int_equal(urza_job_wait(job, -1, &err), ERR_CANCELLED);
    urza_job_free(job);
    urza_compiler_close(compiler);
}

/* The host's rounding mode and current folder do not affect the compiler. */
static void hosts_change_their_mind(void **state)
{
    struct bed *bed = *state;
    char before[1024], ids[2][KERNEL_ID_BYTES];
    urza_error err;
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(bed->folder), 0);
    for (int upward = 0; upward < 2; upward++) {
        const urza_compiler_options options = {.home = "home", .cache_dir = "cache"};
        const urza_compile_options native = {.targets = target_best_here(), .folder = "."};
        urza_compiler *compiler;
        urza_job *job;
        size_t size;
        fesetround(upward ? FE_UPWARD : FE_TONEAREST);
        assert_int_equal(urza_compiler_open(&options, &compiler, &err), 0);
        assert_int_equal(chdir("/"), 0);
        int code = urza_compile(compiler, bed->text, bed->size, &native, &job, &err);
        fesetround(FE_TONEAREST);
        if (code != 0)
            fail_msg("%s", err.message);
        assert_non_null(urza_job_package(job, &size));
        snprintf(ids[upward], sizeof ids[0], "%s", urza_job_kernel_id(job));
        json_t *details = json_loads(urza_job_details(job), 0, NULL);
        assert_true(json_is_string(json_object_get(details, "cache")) == (upward == 1));
        json_decref(details);
        urza_job_free(job);
        urza_compiler_close(compiler);
        assert_int_equal(chdir(bed->folder), 0);
    }
    assert_string_equal(ids[0], ids[1]);
    assert_int_equal(access("home/keys/signing.pem", F_OK), 0);
    assert_int_equal(chdir(before), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(whoever_forks),
        TEST(found_in_the_cache),
        TEST(degrades),
        TEST(errors_of_the_source_stand),
        TEST(public_jobs),
        TEST(jobs_are_cancelled),
        TEST(many_threads),
        TEST(nothing_is_left),
        TEST(verified_afterwards),
        TEST(sources_without_a_folder),
        TEST(answers_are_not_believed),
        TEST(waiting_threads_are_cancelled),
        TEST(hosts_change_their_mind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
