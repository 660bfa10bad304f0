/* The floor of what sampling can cost: preads many files, all kept open.
   Usage: pread PATHS_FILE.  Reads all of them for each byte on stdin, and says how many microseconds
   it took: CPU, then wall. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    static char path[4096], text[8192];
    int count = 0, room = 0, *fds = NULL;
    FILE *paths = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (!paths)
        return perror("paths"), 1;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    while (fgets(path, sizeof path, paths)) {
        path[strcspn(path, "\n")] = 0;
        if (count == room && !(fds = realloc(fds, (room = room * 2 + 64) * sizeof *fds)))
            return 1;
        if ((fds[count++] = open(path, O_RDONLY)) < 0)
            return perror(path), 1;
    }
    while (getchar() != EOF) {
        double cpu_us = now_us(CLOCK_PROCESS_CPUTIME_ID), wall_us = now_us(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++)
            if (pread(fds[i], text, sizeof text, 0) < 0)
                return perror("pread"), 1;
        cpu_us = now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_us;
        printf("%.1f %.1f\n", cpu_us, now_us(CLOCK_MONOTONIC) - wall_us);
        fflush(stdout);
    }
    return 0;
}
