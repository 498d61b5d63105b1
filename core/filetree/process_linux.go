package filetree

import (
	"bytes"
	"fmt"
	"os"
)

// machine tells boots apart, and the containers of one: each has process ids of its
// own.
func machine() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	pids, err := os.Readlink("/proc/self/ns/pid")
	return string(bytes.TrimSpace(boot)) + " " + pids, err
}

// began is when a process did, in ticks since the boot (proc_pid_stat(5), field 22).
func began(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name of its program is in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("%d fields in /proc/%d/stat", len(fields), pid)
	}
	return string(fields[19]), nil
}
