/* The owner and the spawner share a socket of packets. A request is a packet of numbers with three
 * descriptors: a memory file that holds the parts of the work one behind the other, the end of a
 * pipe for the child's answer, and the end of another for its exit status, which the spawner writes
 * when it has waited for it. A second kind of packet kills the child of an earlier request. The end
 * of the socket is the end of the owner; a process that the owner forked may hold it open, so the
 * spawner also looks whose child it is. */
#include "build/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

#define NS_PER_MS UINT64_C(1000000)
#define CHILDREN_MOST 1024
#define REQUEST_FDS 3
#define LOOK_MS 500 /* so often it looks whether its owner is there */

enum packet_kind { PACKET_WORK = 1, PACKET_KILL };

struct packet {
    enum packet_kind kind;
    uint64_t id; /* of the request */
    enum work_kind work;
    struct child_limits limits;
    uint64_t part_bytes[WORK_PARTS];
};

struct spawner {
    pid_t pid;
    int socket;
    pthread_mutex_t lock; /* of next_id */
    uint64_t next_id;
};

/* In the spawner. */
struct server {
    int socket, signals;
    struct running {
        uint64_t id;
        pid_t pid;
        int status_fd;
    } children[CHILDREN_MOST];
    uint32_t count;
};

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* A packet and its descriptors, of which there are as many as its kind has; -1 otherwise. False at
 * the end of the socket. */
static bool receive(int socket, struct packet *out, int fds[REQUEST_FDS])
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int) * REQUEST_FDS)];
    } control;
    struct iovec piece = {out, sizeof *out};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t size;
    for (int i = 0; i < REQUEST_FDS; i++)
        fds[i] = -1;
    do
        size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    struct cmsghdr *head = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len >= CMSG_LEN(sizeof(int)))
        memcpy(fds, CMSG_DATA(head),
               head->cmsg_len - CMSG_LEN(0) < sizeof(int) * REQUEST_FDS
                   ? head->cmsg_len - CMSG_LEN(0)
                   : sizeof(int) * REQUEST_FDS);
    if (size > 0 && size != (ssize_t)sizeof *out)
        out->kind = 0;
    return size > 0;
}

struct ordered {
    const struct packet *packet;
    const char *parts; /* NULL: they could not be mapped */
};

/* The parts; NULL when there are not as many as the packet says, or no memory. */
static const char *map_parts(const struct packet *packet, int memory)
{
    size_t total = 0;
    off_t size = lseek(memory, 0, SEEK_END);
    for (int i = 0; i < WORK_PARTS; i++)
        if (!checked_add_size(total, packet->part_bytes[i], &total))
            return NULL;
    if (size < 0 || (size_t)size < total)
        return NULL;
    if (total == 0)
        return "";
    void *map = mmap(NULL, total, PROT_READ, MAP_PRIVATE, memory, 0);
    return map == MAP_FAILED ? NULL : map;
}

/* In the child. */
static bool do_ordered(void *context, struct arena *arena, struct child_answer *out,
                       struct error *err)
{
    const struct ordered *ordered = context;
    const struct packet *packet = ordered->packet;
    struct work_order work = {.kind = packet->work, .limits = packet->limits};
    const char *at = ordered->parts;
    if (!at)
        return fail(err, ERR_NOMEM, "no memory for what is to be done");
    for (int i = 0; i < WORK_PARTS; i++) {
        work.parts[i] = (struct child_part){at, (size_t)packet->part_bytes[i]};
        at += packet->part_bytes[i];
    }
    return work_do(&work, arena, out, err);
}

static void answer_status(int fd, int status)
{
    file_write_all(fd, &status, sizeof status);
    close(fd);
}

static void start(struct server *server, const struct packet *packet, int fds[REQUEST_FDS])
{
    struct ordered ordered = {.packet = packet};
    pid_t self = getpid();
    if (server->count == CHILDREN_MOST) {
        close_all(fds, REQUEST_FDS); /* an end without a status: the owner says so */
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(server->socket);
        close(server->signals);
        for (uint32_t i = 0; i < server->count; i++)
            close(server->children[i].status_fd);
        close(fds[2]);
        ordered.parts = map_parts(packet, fds[0]); /* the child has no descriptors then */
        child_serve(fds[1], self, do_ordered, &ordered, &packet->limits);
    }
    close(fds[0]);
    close(fds[1]);
    if (pid < 0)
        close(fds[2]);
    else
        server->children[server->count++] = (struct running){packet->id, pid, fds[2]};
}

static void kill_one(const struct server *server, uint64_t id)
{
    for (uint32_t i = 0; i < server->count; i++)
        if (server->children[i].id == id)
            kill(server->children[i].pid, SIGKILL);
}

static void reap(struct server *server)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (uint32_t i = 0; i < server->count; i++) {
            if (server->children[i].pid != pid)
                continue;
            answer_status(server->children[i].status_fd, status);
            server->children[i] = server->children[--server->count];
            break;
        }
    }
}

/* The compiler's first steps, which each child would take anew: its tables stay in memory. */
static void warm_up(void)
{
    static const char text[] =
        "{\"nodes\":[{\"id\":\"x\",\"op_type\":\"input\",\"attributes\":{\"shape\":[4,4]}},"
        "{\"id\":\"y\",\"op_type\":\"activation\",\"attributes\":{\"type\":\"relu\"}},"
        "{\"id\":\"z\",\"op_type\":\"output\",\"attributes\":{}}],"
        "\"edges\":[{\"source\":\"x\",\"target\":\"y\"},{\"source\":\"y\",\"target\":\"z\"}]}";
    const struct compile_options options = {.strategy = STRATEGY_FAST};
    struct compile_result result;
    struct arena arena;
    struct error err;
    arena_init(&arena);
    compile_in_child();
    compile_blueprint(text, sizeof text - 1, &options, &arena, &result, &err);
    arena_release(&arena);
}

URZA_NORETURN static void serve(int socket, pid_t owner)
{
    static struct server server;
    sigset_t chld;
    child_default_signals();
    setpgid(0, 0); /* an interrupt at the terminal is the owner's business */
    prctl(PR_SET_NAME, "urza-spawner");
    if (socket != 3)
        dup2(socket, 3);
    syscall(SYS_close_range, 4, ~0u, 0);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    server.socket = 3;
    server.signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    warm_up();
    for (;;) {
        struct pollfd fds[2] = {{.fd = server.socket, .events = POLLIN},
                                {.fd = server.signals, .events = POLLIN}};
        struct signalfd_siginfo info;
        struct packet packet;
        int handed[REQUEST_FDS];
        if ((poll(fds, 2, LOOK_MS) < 0 && errno != EINTR) || getppid() != owner)
            break;
        while (read(server.signals, &info, sizeof info) == (ssize_t)sizeof info)
            ;
        reap(&server);
        if (fds[0].revents == 0)
            continue;
        if (!receive(server.socket, &packet, handed))
            break;
        if (packet.kind == PACKET_WORK && handed[2] >= 0)
            start(&server, &packet, handed);
        else
            close_all(handed, REQUEST_FDS);
        if (packet.kind == PACKET_KILL)
            kill_one(&server, packet.id);
    }
    for (uint32_t i = 0; i < server.count; i++)
        kill(server.children[i].pid, SIGKILL);
    _exit(0);
}

struct spawner *spawner_start(struct error *err)
{
    int pair[2];
    struct spawner *spawner = malloc(sizeof *spawner);
    if (!spawner) {
        fail(err, ERR_NOMEM, "no memory for a spawner");
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        fail(err, ERR_IO, "cannot make a socket: %s", strerror(errno));
        free(spawner);
        return NULL;
    }
    pid_t owner = getpid(), pid = fork();
    if (pid == 0) {
        close(pair[0]);
        serve(pair[1], owner);
    }
    close(pair[1]);
    if (pid < 0) {
        fail(err, ERR_NOMEM, "cannot start a process: %s", strerror(errno));
        close(pair[0]);
        free(spawner);
        return NULL;
    }
    *spawner = (struct spawner){.pid = pid, .socket = pair[0]};
    pthread_mutex_init(&spawner->lock, NULL);
    return spawner;
}

void spawner_stop(struct spawner *spawner)
{
    if (!spawner)
        return;
    close(spawner->socket);
    while (waitpid(spawner->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pthread_mutex_destroy(&spawner->lock);
    free(spawner);
}

bool spawner_alive(const struct spawner *spawner)
{
    siginfo_t info = {.si_pid = 0};
    int options = WEXITED | WNOHANG | WNOWAIT; /* spawner_stop waits for it */
    return waitid(P_PID, (id_t)spawner->pid, &info, options) == 0 && info.si_pid == 0;
}

static bool send_packet(const struct spawner *spawner, const struct packet *packet, const int *fds,
                        int count)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int) * REQUEST_FDS)];
    } control = {0};
    struct iovec piece = {(void *)(uintptr_t)packet, sizeof *packet};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * (size_t)count);
    }
    ssize_t sent;
    do
        sent = sendmsg(spawner->socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *packet;
}

/* A memory file with the parts one behind the other; -1 after failing *err. */
static int put_parts(const struct work_order *work, struct packet *packet, struct error *err)
{
    int memory = memfd_create("urza-work", MFD_CLOEXEC);
    bool ok = memory >= 0;
    for (int i = 0; i < WORK_PARTS; i++) {
        packet->part_bytes[i] = work->parts[i].size_bytes;
        ok = ok && (work->parts[i].size_bytes == 0 ||
                    file_write_all(memory, work->parts[i].data, work->parts[i].size_bytes));
    }
    if (ok)
        return memory;
    if (memory >= 0)
        close(memory);
    fail(err, ERR_NOMEM, "no memory for what is to be done: %s", strerror(errno));
    return -1;
}

/* What became of the child that gave no full answer. */
static struct child_exit find_end(const struct spawner *spawner, const struct packet *packet,
                                  int status_fd, bool late, bool cancelled, struct error *err)
{
    int status;
    const struct packet order = {.kind = PACKET_KILL, .id = packet->id};
    if (late || cancelled)
        send_packet(spawner, &order, NULL, 0); /* or the spawner is gone, and the child with it */
    ssize_t size;
    do
        size = read(status_fd, &status, sizeof status);
    while (size < 0 && errno == EINTR);
    if (cancelled) {
        fail(err, ERR_CANCELLED, "cancelled");
        return (struct child_exit){CHILD_FAILED, 0};
    }
    if (late)
        return (struct child_exit){CHILD_TIMED_OUT, 0};
    if (size == (ssize_t)sizeof status)
        return child_exit_of(status);
    fail(err, ERR_COMPILER_DIED, "no process could be started for the work, or its parent died");
    return (struct child_exit){CHILD_FAILED, 0};
}

/* The work has been sent: its answer, or how it ended. */
static struct child_exit await(const struct spawner *spawner, const struct packet *packet,
                               int answer_fd, int status_fd, const atomic_bool *cancelled,
                               struct arena *arena, struct child_answer *out, struct error *err)
{
    uint32_t timeout_ms = packet->limits.timeout_ms;
    uint64_t deadline_ns = timeout_ms > 0 ? clock_ns() + timeout_ms * NS_PER_MS : 0;
    enum child_end end =
        child_receive(answer_fd, deadline_ns, cancelled, &packet->limits, arena, out, err);
    close(answer_fd);
    if (end != CHILD_NONE)
        return (struct child_exit){end, 0};
    return find_end(spawner, packet, status_fd, deadline_ns > 0 && clock_ns() >= deadline_ns,
                    cancelled && atomic_load(cancelled), err);
}

struct child_exit spawner_run(struct spawner *spawner, const struct work_order *work,
                              const atomic_bool *cancelled, struct arena *arena,
                              struct child_answer *out_answer, struct error *err)
{
    const struct child_exit failed = {CHILD_FAILED, 0};
    struct packet packet;
    int answer[2], status[2];
    memset(&packet, 0, sizeof packet); /* no byte of ours goes along with it */
    packet.kind = PACKET_WORK;
    packet.work = work->kind;
    packet.limits = work->limits;
    pthread_mutex_lock(&spawner->lock);
    packet.id = ++spawner->next_id;
    pthread_mutex_unlock(&spawner->lock);
    int memory = put_parts(work, &packet, err);
    if (memory < 0)
        return failed;
    if (pipe2(answer, O_CLOEXEC) != 0) {
        close(memory);
        fail(err, ERR_IO, "cannot make a pipe: %s", strerror(errno));
        return failed;
    }
    if (pipe2(status, O_CLOEXEC) != 0) {
        close_all((int[]){memory, answer[0], answer[1]}, 3);
        fail(err, ERR_IO, "cannot make a pipe: %s", strerror(errno));
        return failed;
    }
    bool sent = send_packet(spawner, &packet, (int[]){memory, answer[1], status[1]}, REQUEST_FDS);
    close_all((int[]){memory, answer[1], status[1]}, REQUEST_FDS);
    struct child_exit end = failed;
    if (sent) {
        end = await(spawner, &packet, answer[0], status[0], cancelled, arena, out_answer, err);
    } else {
        close(answer[0]);
        fail(err, ERR_COMPILER_DIED, "the process that starts compilers is gone");
    }
    close(status[0]);
    return end;
}
