package emulator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// A PkgSFTP is the SFTP server of github.com/pkg/sftp, in this process. It does much
// the awkward way: a rename replaces what is there, nothing is synced, and reads are
// of 32 KiB at most.
type PkgSFTP struct {
	*SFTP
	Password string // that User may log in with too

	habits   Habits
	config   *ssh.ServerConfig
	listener net.Listener
	meets    atomic.Pointer[func(kind byte) Reply]
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil when it is stopped
}

// Habits are what a server does the awkward way besides.
type Habits struct {
	Bare       bool // it knows no extension of the protocol: no hard links, nothing of its space
	ShortReads int  // most bytes in the answer to a read; 0 means as many as are asked for
	Reordered  bool // where it may, it answers what was asked later first
	Refuses    int  // how many connections are too many; 0 means none
}

// A Reply is what a server does with a packet.
type Reply int

// The replies.
const (
	Serve  Reply = iota // as it should
	Fail                // answers "Failure"
	Hang                // never answers
	HangUp              // ends the SFTP session, and not the connection
)

// Packets that clients send, by their kind (draft-ietf-secsh-filexfer-02, 3).
const (
	PacketOpen     byte = 3
	PacketClose    byte = 4
	PacketRead     byte = 5
	PacketWrite    byte = 6
	PacketLstat    byte = 7
	PacketRename   byte = 18
	PacketExtended byte = 200
)

// StartPkgSFTP starts a server that keeps its data in the folder data of dir. The caller
// stops it. env is nothing here.
func StartPkgSFTP(_ context.Context, dir string, _ ...string) (*PkgSFTP, error) {
	return StartAwkward(dir, Habits{})
}

// StartAwkward is StartPkgSFTP with more habits.
func StartAwkward(dir string, habits Habits) (*PkgSFTP, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	settings, host, err := newSFTP(dir, "somebody", listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s := &PkgSFTP{SFTP: settings, Password: "offsite-password", habits: habits, listener: listener, conns: map[net.Conn]bool{}}
	s.config = s.logins()
	s.config.AddHostKey(host)
	s.all.Go(s.accept)
	return s, nil
}

// logins are those of the one user.
func (s *PkgSFTP) logins() *ssh.ServerConfig {
	refused := errors.New("refused")
	signer, err := writeKey(s.Key)
	return &ssh.ServerConfig{
		MaxAuthTries: 6,
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if err != nil || meta.User() != s.User || !bytes.Equal(key.Marshal(), signer.PublicKey().Marshal()) {
				return nil, refused
			}
			return nil, nil
		},
		PasswordCallback: func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if meta.User() != s.User || string(password) != s.Password {
				return nil, refused
			}
			return nil, nil
		},
	}
}

// Meet lets f decide what becomes of each packet from now on, by its kind; nil means
// that all are served. f is called concurrently.
func (s *PkgSFTP) Meet(f func(kind byte) Reply) {
	if f == nil {
		s.meets.Store(nil)
		return
	}
	s.meets.Store(&f)
}

func (s *PkgSFTP) reply(kind byte) Reply {
	if f := s.meets.Load(); f != nil {
		return (*f)(kind)
	}
	return Serve
}

// Stop ends all connections and waits for what is left of them. It keeps its data.
// Twice is fine.
func (s *PkgSFTP) Stop() {
	_ = s.listener.Close() // it may be
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for conn := range conns {
		_ = conn.Close() // it may be
	}
	s.all.Wait()
}

func (s *PkgSFTP) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		takes := s.conns != nil && (s.habits.Refuses == 0 || len(s.conns) < s.habits.Refuses)
		if takes {
			s.conns[conn] = true
		}
		s.mu.Unlock()
		if !takes {
			_ = conn.Close() // refused
			continue
		}
		s.all.Go(func() { s.serve(conn) })
	}
}

func (s *PkgSFTP) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close() // it may be
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	_, channels, asked, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	s.all.Go(func() { ssh.DiscardRequests(asked) })
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "sessions only") // the client is gone, or hears it
			continue
		}
		if channel, asked, err := c.Accept(); err == nil {
			s.all.Go(func() { s.session(channel, asked) })
		}
	}
}

// session waits for the subsystem and serves it.
func (s *PkgSFTP) session(channel ssh.Channel, asked <-chan *ssh.Request) {
	defer channel.Close()
	for q := range asked {
		ok := q.Type == "subsystem" && len(q.Payload) > 4 && string(q.Payload[4:]) == "sftp"
		_ = q.Reply(ok, nil) // the client is gone, or hears it
		if ok {
			s.all.Go(func() { ssh.DiscardRequests(asked) })
			s.files(channel)
			return
		}
	}
}

// files serves files on a channel, past what stands in between.
func (s *PkgSFTP) files(channel ssh.Channel) {
	requests, toServer := io.Pipe()
	answers, fromServer := io.Pipe()
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{requests, fromServer}, sftp.WithServerWorkingDirectory(s.Dir))
	if err != nil {
		return
	}
	r := &relay{server: s, client: channel}
	var both sync.WaitGroup
	both.Go(func() {
		_ = r.requests(toServer) // it ends with the channel
		_ = toServer.Close()
	})
	both.Go(func() {
		_ = r.answers(answers) // it ends with the server
		_ = channel.Close()
		_, _ = io.Copy(io.Discard, answers)
	})
	_ = server.Serve() // it ends with the channel
	_, _ = server.Close(), fromServer.Close()
	_ = requests.Close()
	both.Wait()
}
