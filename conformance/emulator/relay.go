package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// A relay stands between a client and a server of SFTP and changes what they say to
// each other.
type relay struct {
	server *PkgSFTP
	client io.ReadWriteCloser

	mu      sync.Mutex // of what follows, and of writes to the client
	pending int        // requests that were not answered
	held    []byte     // an answer that another may overtake
}

// Kinds of packets besides those that have a name outside.
const (
	packetInit     byte = 1
	packetVersion  byte = 2
	packetStatus   byte = 101
	statusFailure       = 4
	statusUnknown       = 8
	maxPacket           = 1 << 20
	packetIDLength      = 5 // a kind and an id
)

var errPacket = errors.New("no packet of SFTP")

// readPacket reads one without its length.
func readPacket(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < packetIDLength || n > maxPacket {
		return nil, errPacket
	}
	p := make([]byte, n)
	_, err := io.ReadFull(r, p)
	return p, err
}

func writePacket(w io.Writer, p []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...))
	return err
}

// requests passes what the client asks, or answers it.
func (r *relay) requests(server io.Writer) error {
	for {
		p, err := readPacket(r.client)
		if err != nil {
			return err
		}
		if p[0] == packetInit {
			if err := writePacket(server, p); err != nil {
				return err
			}
			continue
		}
		r.mu.Lock()
		r.pending++
		r.mu.Unlock()
		reply := r.server.reply(p[0])
		switch {
		case reply == HangUp:
			return r.client.Close()
		case reply == Hang:
		case reply == Fail:
			err = r.answer(status(p, statusFailure))
		case r.server.habits.Bare && p[0] == PacketExtended:
			err = r.answer(status(p, statusUnknown))
		default:
			err = writePacket(server, r.shorter(p))
		}
		if err != nil {
			return err
		}
	}
}

// shorter makes a request for many bytes one for few.
func (r *relay) shorter(p []byte) []byte {
	if most := uint32(r.server.habits.ShortReads); most > 0 && p[0] == PacketRead && len(p) > 4 {
		asked := p[len(p)-4:]
		binary.BigEndian.PutUint32(asked, min(binary.BigEndian.Uint32(asked), most))
	}
	return p
}

// status is an answer with a code to a request.
func status(p []byte, code uint32) []byte {
	answer := append([]byte{packetStatus}, p[1:packetIDLength]...)
	answer = binary.BigEndian.AppendUint32(answer, code)
	for _, text := range []string{"Failure", "en"} {
		answer = append(binary.BigEndian.AppendUint32(answer, uint32(len(text))), text...)
	}
	return answer
}

// answers passes what the server answers.
func (r *relay) answers(server io.Reader) error {
	for {
		p, err := readPacket(server)
		if err != nil {
			return err
		}
		if p[0] == packetVersion {
			if r.server.habits.Bare {
				p = bytes.Clone(p[:packetIDLength]) // the extensions stand behind the version
			}
			err = writePacket(r.client, p)
		} else {
			err = r.answer(p)
		}
		if err != nil {
			return err
		}
	}
}

// answer answers a request, perhaps after the next one.
func (r *relay) answer(p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending--
	if r.server.habits.Reordered && r.held == nil && r.pending > 0 {
		r.held = p
		return nil
	}
	if err := writePacket(r.client, p); err != nil || r.held == nil {
		return err
	}
	p, r.held = r.held, nil
	return writePacket(r.client, p)
}
