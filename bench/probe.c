/* The cheapest program to run on a frame: it tells when it began, and may keep a core busy after that.
   probe LEDGER OUT [SECONDS]: appends "BOOTTIME OUT" to LEDGER in one write. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double boottime(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    double began = boottime();
    char line[4096];
    int length = snprintf(line, sizeof line, "%.6f %s\n", began, argv[2]);
    int ledger = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (argc < 3 || write(ledger, line, length) != length)
        return 1;
    if (argc > 3)
        while (boottime() < began + atof(argv[3]))
            ;
    return 0;
}
