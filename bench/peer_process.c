/* Peers that run in a process of their own: bench/peers/run CONTESTANT THREADS, one JSON object per
 * line on its standard input and output.
 *
 *   {"op": "hello"}                            {"ok": true, "contestant": …, "version": …}
 *   {"op": "prepare", "case": …, "blueprint": PATH, "params": PATH, "dims": {"B": 1},
 *    "inputs": {"x": PATH.npy}, "out": FOLDER}  {"ok": true, "outputs": {"y": PATH.npy}}
 *   {"op": "run", "repeat": 10}                {"ok": true, "ns": 123456}
 *   {"op": "quit"}
 *
 * A failure is {"ok": false, "error": …}. The blueprint is in the native dialect. Between two
 * requests the process is stopped: threads that wait for work by spinning would take the cores that
 * others are measured on. The files of a case lie in a temporary folder, which the next case
 * reuses. Who dies or takes too long has lost that case; the next one gets a new process. */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "bench.h"

#define PROGRAM "bench/peers/run"
#define OPEN_TIMEOUT_MS 900000 /* the first time it is installed */
#define CASE_TIMEOUT_MS 240000 /* some tune for a minute */
#define PATH_BYTES 192
#define FILE_BYTES_MAX (UINT64_C(1) << 32)

extern char **environ;

struct process {
    pid_t pid; /* 0: none runs */
    const char *name;
    uint32_t threads;
    FILE *requests, *replies;
    char folder[32];
    struct arena arena; /* of the current case */
    uint64_t elements;  /* of its first output */
    const char *result_path;
};

static void end_process(struct process *process, bool kindly)
{
    if (process->pid > 0)
        kill(process->pid, SIGCONT);
    if (process->requests) {
        if (kindly)
            fputs("{\"op\": \"quit\"}\n", process->requests);
        fclose(process->requests);
    }
    if (process->replies)
        fclose(process->replies);
    if (process->pid > 0 && !kindly)
        kill(process->pid, SIGKILL);
    if (process->pid > 0)
        waitpid(process->pid, NULL, 0);
    process->requests = process->replies = NULL;
    process->pid = 0;
}

static bool spawn(struct process *process, struct error *err)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    char count[16], program[] = PROGRAM, contestant[32];
    snprintf(count, sizeof count, "%u", process->threads);
    snprintf(contestant, sizeof contestant, "%s", process->name);
    char *const arguments[] = {program, contestant, count, NULL};
    posix_spawn_file_actions_t actions;
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return fail(err, ERR_IO, "no pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    int status = posix_spawn(&process->pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    process->requests = fdopen(to[1], "w");
    process->replies = fdopen(from[0], "r");
    if (status != 0) {
        process->pid = 0;
        return fail(err, ERR_NOT_FOUND, "cannot start %s", PROGRAM);
    }
    return (process->requests && process->replies) || fail(err, ERR_IO, "no pipe");
}

/* Sends a request, which it releases, and gives the reply; NULL for a failure. */
static json_t *ask(struct process *process, json_t *request, int timeout_ms, struct error *err)
{
    char *line = NULL;
    size_t capacity = 0;
    struct pollfd ready = {.fd = fileno(process->replies), .events = POLLIN};
    kill(process->pid, SIGCONT);
    json_dumpf(request, process->requests, JSON_COMPACT);
    json_decref(request);
    fputc('\n', process->requests);
    int status = fflush(process->requests) == 0 ? poll(&ready, 1, timeout_ms) : -1;
    if (status != 1 || getline(&line, &capacity, process->replies) < 0) {
        free(line);
        end_process(process, false);
        if (status == 0)
            fail(err, ERR_IO, "not done after %d s", timeout_ms / 1000);
        else
            fail(err, ERR_IO, "its process ended");
        return NULL;
    }
    kill(process->pid, SIGSTOP);
    json_t *reply = json_loads(line, 0, NULL);
    free(line);
    if (json_is_true(json_object_get(reply, "ok")))
        return reply;
    const char *problem = json_string_value(json_object_get(reply, "error"));
    fail(err, ERR_UNSUPPORTED, "%.400s", problem ? problem : "its answer is not understood");
    json_decref(reply);
    return NULL;
}

/* Starts the process; the reply is what it says of itself, NULL for a failure. */
static json_t *begin_process(struct process *process, struct error *err)
{
    if (spawn(process, err))
        return ask(process, json_pack("{s:s}", "op", "hello"), OPEN_TIMEOUT_MS, err);
    end_process(process, false);
    return NULL;
}

static bool open_process(struct peer *peer, uint32_t threads, struct error *err)
{
    struct process *process = calloc(1, sizeof *process);
    peer->state = process;
    process->name = peer->name;
    process->threads = threads;
    arena_init(&process->arena);
    signal(SIGPIPE, SIG_IGN); /* a process that died is an error of its own */
    snprintf(process->folder, sizeof process->folder, "/tmp/urza-bench-XXXXXX");
    if (!mkdtemp(process->folder)) {
        process->folder[0] = '\0';
        return fail(err, ERR_IO, "no temporary folder");
    }
    json_t *reply = begin_process(process, err);
    if (!reply)
        return false;
    const char *version = json_string_value(json_object_get(reply, "version"));
    snprintf(peer->version, sizeof peer->version, "%s %s", peer->name, version ? version : "");
    json_decref(reply);
    return true;
}

static const char *path_in(struct process *process, const char *name)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", process->folder, name);
    return arena_strdup(&process->arena, path);
}

static const char *npy_type(DLDataType dtype)
{
    if (dtype.code == kDLFloat)
        return dtype.bits == 32 ? "<f4" : dtype.bits == 64 ? "<f8" : "<f2";
    return dtype.code == kDLBool ? "|b1" : dtype.bits == 64 ? "<i8" : "<i4";
}

static bool write_tensor(struct process *process, const DLTensor *tensor, const char *path,
                         struct error *err)
{
    struct npy npy;
    struct strbuf bytes;
    strbuf_init(&bytes, &process->arena);
    if (!npy_init(&npy, npy_type(tensor->dtype), (uint32_t)tensor->ndim, tensor->shape,
                  tensor->data, err))
        return false;
    npy_format(&npy, &bytes);
    return file_write_atomic(path, bytes.data, bytes.size_bytes, 0600, err);
}

/* Writes the case's files; NULL on failure. */
static json_t *describe(struct process *process, const struct subject *subject, struct error *err)
{
    const uint8_t *params;
    size_t params_bytes;
    const char *blueprint_path = path_in(process, "blueprint.json");
    const char *params_path = path_in(process, "params.safetensors");
    json_t *dims = json_object(), *inputs = json_object();
    bool ok = package_entry(subject->package, subject->package_bytes, "params.safetensors", &params,
                            &params_bytes, err) &&
              file_write_atomic(params_path, params, params_bytes, 0600, err) &&
              file_write_atomic(blueprint_path, subject->contents.blueprint_json,
                                subject->contents.blueprint_bytes, 0600, err);
    for (uint32_t i = 0; i < urza_dim_count(subject->module); i++)
        json_object_set_new(dims, urza_dim(subject->module, i)->name,
                            json_integer(subject->dims[i]));
    for (uint32_t i = 0; ok && i < subject->input_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "input%u.npy", i);
        const char *path = path_in(process, name);
        ok = write_tensor(process, &subject->inputs[i], path, err);
        json_object_set_new(inputs, urza_input_info(subject->module, i)->name, json_string(path));
    }
    if (ok)
        return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s}", "op", "prepare", "case",
                         subject->test->name, "blueprint", blueprint_path, "params", params_path,
                         "dims", dims, "inputs", inputs, "out", process->folder);
    json_decref(dims);
    json_decref(inputs);
    return NULL;
}

/* The reply to a request to prepare, which it releases. */
static json_t *ask_to_prepare(struct process *process, const struct subject *subject,
                              json_t *request, struct error *err)
{
    json_t *reply = request ? ask(process, request, CASE_TIMEOUT_MS, err) : NULL;
    if (!reply)
        return NULL;
    const char *path = json_string_value(json_object_get(
        json_object_get(reply, "outputs"), urza_output_info(subject->module, 0)->name));
    process->elements = tensor_elements(&subject->outputs[0]);
    process->result_path = path ? arena_strdup(&process->arena, path) : "";
    return reply;
}

static void *prepare(struct peer *peer, const struct subject *subject, struct error *err)
{
    struct process *process = peer->state;
    json_t *hello = process->pid == 0 ? begin_process(process, err) : json_null();
    if (!hello)
        return NULL;
    json_decref(hello);
    json_t *reply = ask_to_prepare(process, subject, describe(process, subject, err), err);
    json_decref(reply);
    return reply ? process : NULL;
}

static uint64_t run(void *state, uint64_t repetitions)
{
    struct error err = {0};
    json_t *request = json_pack("{s:s, s:I}", "op", "run", "repeat", (json_int_t)repetitions);
    struct process *process = state;
    if (process->pid == 0) {
        json_decref(request);
        return 0;
    }
    json_t *reply = ask(process, request, CASE_TIMEOUT_MS, &err);
    json_int_t ns = json_integer_value(json_object_get(reply, "ns"));
    json_decref(reply);
    return ns > 0 ? (uint64_t)ns : 0;
}

static const float *result(void *state)
{
    struct process *process = state;
    struct error err = {0};
    struct npy npy;
    char *bytes;
    size_t size;
    if (!file_read(process->result_path, FILE_BYTES_MAX, &bytes, &size, &err))
        return NULL;
    bool ok = npy_parse(bytes, size, &process->arena, &npy, &err);
    free(bytes);
    bool fits =
        ok && strcmp(npy.descr, "<f4") == 0 && npy.data_bytes == process->elements * sizeof(float);
    return fits ? npy.data : NULL;
}

static void release(void *state)
{
    struct process *process = state;
    arena_release(&process->arena);
    arena_init(&process->arena);
}

static void close_process(struct peer *peer)
{
    struct process *process = peer->state;
    if (!process)
        return;
    end_process(process, true);
    if (process->folder[0]) {
        char program[] = "rm", options[] = "-rf";
        char *const arguments[] = {program, options, process->folder, NULL};
        pid_t remover;
        if (posix_spawnp(&remover, program, NULL, NULL, arguments, environ) == 0)
            waitpid(remover, NULL, 0);
    }
    arena_release(&process->arena);
    free(process);
}

const struct peer_driver peer_process = {"process", open_process, prepare,      run,
                                         result,    release,      close_process};

bool peer_process_compile(const char *name, uint32_t threads, const struct subject *subject,
                          double *out_ms, struct error *err)
{
    struct peer peer = {.driver = &peer_process, .name = name};
    bool ok = open_process(&peer, threads, err);
    struct process *process = peer.state;
    json_t *request = ok ? describe(process, subject, err) : NULL;
    json_t *reply = request ? ask_to_prepare(process, subject, request, err) : NULL;
    ok = reply != NULL;
    const float *values = ok ? result(process) : NULL;
    if (ok && !(values && subject_agrees(subject, 0, values)))
        ok = fail(err, ERR_UNSUPPORTED, "its result is another");
    if (ok)
        *out_ms = json_number_value(json_object_get(reply, "compile_ms"));
    json_decref(reply);
    close_process(&peer);
    return ok;
}
