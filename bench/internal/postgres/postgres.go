// Package postgres starts a PostgreSQL of its own for a bench to measure.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cpucloud/cpucloud/bench/internal/process"
)

const stopWithin = time.Minute

// Server is a PostgreSQL that runs, with ordinary durable settings: a commit is on
// the disk before it is answered. It listens on a socket alone.
type Server struct {
	home string
	bin  string
	as   []string // runs a command as a user that PostgreSQL accepts
}

// Start starts a PostgreSQL with databases of these names.
func Start(ctx context.Context, databases ...string) (_ *Server, err error) {
	p := &Server{}
	if p.bin, err = folder(); err != nil {
		return nil, err
	}
	// A socket's path has to be short, whatever TMPDIR says.
	if p.home, err = os.MkdirTemp("/tmp", "cpucloud-pg."); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(p.home))
		}
	}()
	if os.Geteuid() == 0 { // PostgreSQL refuses to run as root
		if err := p.lower(); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(p.home, "data")
	if err := p.run(ctx, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories='%s' -c max_connections=200", p.home)
	if err := p.run(ctx, "pg_ctl", "-D", data, "-l", filepath.Join(p.home, "log"), "-w", "-o", options, "start"); err != nil {
		return nil, err
	}
	for _, name := range databases {
		if err := p.Exec(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
			return nil, errors.Join(err, p.Stop(ctx))
		}
	}
	return p, nil
}

// folder returns where PostgreSQL's programs are.
func folder() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			found = append(found, real)
		}
	}
	for _, path := range found {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "pg_ctl")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", errors.New("PostgreSQL is not installed; on Debian and Ubuntu: apt-get install postgresql")
}

// lower gives the folder to a user without rights.
func (p *Server) lower() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	p.as = []string{"runuser", "-u", u.Username, "--"}
	return os.Chown(p.home, uid, -1)
}

func (p *Server) run(ctx context.Context, program string, args ...string) error {
	words := append(append([]string{}, p.as...), filepath.Join(p.bin, program))
	words = append(words, args...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = p.home
	log, err := os.Create(filepath.Join(p.home, "said")) // the server keeps it open
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // only what was said is of use
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(log.Name()) // err says enough without it
		return fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return nil
}

// URL returns where a database is.
func (p *Server) URL(database string) string {
	return "postgres://postgres@/" + database + "?host=" + p.home
}

// Connect opens a connection of its own.
func (p *Server) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.URL(database))
}

// Exec runs a statement.
func (p *Server) Exec(ctx context.Context, database, query string) error {
	c, err := p.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, query)
	return errors.Join(err, c.Close(ctx))
}

// Stop ends PostgreSQL and removes all that it kept, though ctx may be done.
func (p *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err := p.run(ctx, "pg_ctl", "-D", filepath.Join(p.home, "data"), "-m", "immediate", "-w", "stop")
	return errors.Join(err, os.RemoveAll(p.home))
}

// CPU returns the processor time that the server's processes have used.
func (p *Server) CPU() (sum time.Duration, err error) {
	text, err := os.ReadFile(filepath.Join(p.home, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		return 0, err
	}
	return process.PID(n).FamilyCPU()
}
