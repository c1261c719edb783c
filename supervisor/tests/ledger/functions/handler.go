// One event at a time; notes each execution, then does as the path says, as deeds.py does.
//
// This program is kept by a worker, which is the one that dies and is stopped, and whose the notes are.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nuclio/nuclio-sdk-go"
)

var (
	worker = os.Getppid()
	notes  *os.File
)

func InitContext(context *nuclio.Context) error {
	// A worker that is dead already would leave us to its own parent, which must not be hit.
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", worker))
	if err != nil || strings.TrimSpace(string(name)) != "nuclio-shell" {
		return fmt.Errorf("the worker is gone")
	}
	path := filepath.Join(os.Getenv("LEDGER_NOTES"), fmt.Sprintf("%d.unix", worker))
	notes, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return err
}

// One system call, so that a note is there or not there.
func note(number uint64) error {
	record := make([]byte, 24)
	binary.LittleEndian.PutUint64(record, number)
	binary.LittleEndian.PutUint64(record[8:], uint64(time.Now().UnixNano()))
	binary.LittleEndian.PutUint32(record[16:], uint32(worker))
	_, err := notes.Write(record)
	return err
}

// Does it to the worker and never answers.
func strike(signal syscall.Signal) {
	if os.Getppid() == worker {
		syscall.Kill(worker, signal)
	}
	for {
		time.Sleep(time.Hour)
	}
}

func Handler(context *nuclio.Context, event nuclio.Event) (interface{}, error) {
	path := event.GetPath()
	number, err := strconv.ParseUint(path[1:17], 16, 64)
	if err != nil {
		return nil, err
	}
	answer, deed := path[18], path[19]
	if deed == 'u' {
		strike(syscall.SIGKILL)
	}
	if err := note(number); err != nil {
		return nil, err
	}
	switch deed {
	case 'k':
		strike(syscall.SIGKILL)
	case 's':
		strike(syscall.SIGSTOP)
	case 'd':
		time.Sleep(time.Duration(1+number%5) * time.Millisecond)
	case 'x':
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case 'g':
		if err := exec.Command("sleep", "600").Start(); err != nil {
			return nil, err
		}
	}
	reply := event.GetBody()
	if answer != 'e' {
		reply = append([]byte(path+"\n"), reply...)
	}
	if deed == 'l' {
		strike(syscall.SIGKILL)
	}
	if answer == 'h' {
		return nuclio.Response{Headers: map[string]interface{}{"X-Ledger": path}, Body: reply}, nil
	}
	return reply, nil
}
