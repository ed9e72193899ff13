/* Code is loaded through a sealed memory file: it is written while it cannot be executed, then
 * sealed against every change, then mapped as readable and executable. No page is ever writable and
 * executable here, and the file cannot change any more. The mapping is private, so the process
 * itself can still make its own copy of a page writable (mprotect): seals protect against stray
 * writes and other holders of the file, not against code that runs in the process. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "runtime/parts_priv.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3: executable whatever vm.memfd_noexec says */
#endif

static int memory_file(void)
{
    int fd = memfd_create("urza-code", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("urza-code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

bool image_map(struct image *out, const void *code, size_t size, struct error *err)
{
    if (size == 0) {
        *out = (struct image){0};
        return true;
    }
    int fd = memory_file();
    if (fd < 0)
        return fail(err, ERR_IO, "no memory file for code: %s", strerror(errno));
    void *mapped = MAP_FAILED;
    if (file_write_quietly(fd, code, size) &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        mapped = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    int reason = errno;
    close(fd);
    if (mapped == MAP_FAILED)
        return fail(err, ERR_IO, "code cannot be mapped: %s", strerror(reason));
    cpu_sync_code(mapped, size);
    *out = (struct image){mapped, size};
    return true;
}

void image_unmap(struct image *image)
{
    if (image->code)
        munmap((void *)(uintptr_t)image->code, image->size_bytes);
    *image = (struct image){0};
}
