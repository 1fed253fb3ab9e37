/* Lets the real oxenstored run on a machine without Xen.
 *
 * Preloaded, it stands in for the three Xen libraries that oxenstored calls
 * and for the two files in /proc/xen that it reads. Clients of the unix socket
 * are Dom0, as on a host. Guests connect through rings, which are files here:
 *
 *   $LAB_RINGS/<domid>        the shared page, made when Dom0 introduces the domain
 *   $LAB_RINGS/<domid>.port   the event channel that xenstored bound for it
 *   $LAB_RINGS/events         a FIFO: four bytes with a port number are one event
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE 4096
#define DOMID_FIRST_RESERVED 0x7ff0

static char handle[PAGE];       /* what the libraries' open functions return */
static int events = -1;
static int next_port = 10;

static int open_ring_file(const char *name, int flags)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", getenv("LAB_RINGS"), name);
    return open(path, flags | O_CLOEXEC, 0600);
}

/* Raising the limit of open files needs a right that containers lack. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) { return 0; }
int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) { return 0; }

/* --- libxenctrl: every domain exists --- */

void *xc_interface_open(void *logger, void *dombuild, unsigned flags) { return handle; }
int xc_interface_close(void *xch) { return 0; }

static int one_domain(uint32_t domid, void *info)
{
    if (domid >= DOMID_FIRST_RESERVED)
        return 0;
    memset(info, 0, 16);        /* alive: none of the flags behind the domid is set */
    return 1;
}

int xc_domain_getinfo(void *xch, uint32_t first, unsigned max, void *info)
{
    int found = one_domain(first, info);

    if (found)
        *(uint32_t *)info = first;
    return found;
}

int xc_domain_getinfolist(void *xch, uint32_t first, unsigned max, void *info)
{
    int found = one_domain(first, info);

    if (found)
        *(uint16_t *)info = first;
    return found;
}

void *xc_map_foreign_range(void *xch, uint32_t domid, int size, int prot,
                           unsigned long frame)
{
    char name[16];
    void *page;
    int fd;

    snprintf(name, sizeof name, "%u", domid);
    fd = open_ring_file(name, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0 || ftruncate(fd, PAGE))
        return NULL;
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

/* --- libxengnttab: newer guests' rings are mapped by grant reference --- */

void *xengnttab_open(void *logger, unsigned flags) { return handle; }
int xengnttab_close(void *xgt) { return 0; }
int xengnttab_set_max_grants(void *xgt, uint32_t count) { return 0; }
int xengnttab_unmap(void *xgt, void *page, uint32_t count) { return munmap(page, PAGE); }

void *xengnttab_map_grant_ref(void *xgt, uint32_t domid, uint32_t ref, int prot)
{
    return xc_map_foreign_range(NULL, domid, PAGE, prot, ref);
}

/* --- libxenevtchn: events come from a FIFO, and nobody waits for ours --- */

void *xenevtchn_open(void *logger, unsigned flags)
{
    if (events < 0)
        events = open_ring_file("events", O_RDWR);
    return events < 0 ? NULL : handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags)
{
    return xenevtchn_open(logger, flags);
}

int xenevtchn_close(void *xce) { return 0; }
int xenevtchn_fd(void *xce) { return events; }
int xenevtchn_notify(void *xce, uint32_t port) { return 0; }
int xenevtchn_unmask(void *xce, uint32_t port) { return 0; }
int xenevtchn_unbind(void *xce, uint32_t port) { return 0; }
int xenevtchn_bind_virq(void *xce, unsigned virq) { return next_port++; }

int xenevtchn_bind_interdomain(void *xce, uint32_t domid, uint32_t remote)
{
    char name[16];
    int fd;

    snprintf(name, sizeof name, "%u.port", domid);
    fd = open_ring_file(name, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0)
        return -1;
    dprintf(fd, "%d", next_port);
    close(fd);
    return next_port++;
}

int xenevtchn_pending(void *xce)
{
    int port;

    return read(events, &port, sizeof port) == sizeof port ? port : -1;
}

/* --- /proc/xen/xsd_port and /proc/xen/xsd_kva: Dom0's own ring, never used --- */

static int open_proc_xen(const char *path)
{
    int fd = memfd_create("proc-xen", MFD_CLOEXEC);

    if (ftruncate(fd, PAGE))
        return -1;
    if (strstr(path, "port") && (ftruncate(fd, 1) || pwrite(fd, "1", 1, 0) != 1))
        return -1;
    return fd;
}

typedef int open_function(const char *, int, ...);

static int open_or_fake(const char *real, const char *path, int flags, int mode)
{
    open_function *next;

    if (!strncmp(path, "/proc/xen/", 10))
        return open_proc_xen(path);
    next = (open_function *)dlsym(RTLD_NEXT, real);
    return next(path, flags, mode);
}

#define DEFINE_OPEN(name)                               \
    int name(const char *path, int flags, ...)          \
    {                                                   \
        va_list rest;                                   \
        int mode;                                       \
                                                        \
        va_start(rest, flags);                          \
        mode = va_arg(rest, int);                       \
        va_end(rest);                                   \
        return open_or_fake(#name, path, flags, mode);  \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
