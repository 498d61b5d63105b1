package fault

import (
	"bytes"
	"io"
	"time"
)

// onTheWay is how many pieces a long way holds, of up to 32 KiB each: more than any
// window of what is proven here.
const onTheWay = 1024

// far is an end of a connection at a distance: what is written arrives later.
type far struct {
	link      *link
	to        io.Writer
	after     time.Duration
	pieces    chan piece
	delivered chan struct{} // closed when nothing is on its way any more
}

type piece struct {
	data []byte
	due  time.Time
}

func newFar(l *link, to io.Writer, after time.Duration) *far {
	return &far{link: l, to: to, after: after, pieces: make(chan piece, onTheWay), delivered: make(chan struct{})}
}

// Write returns at once, as long as the way holds more.
func (f *far) Write(p []byte) (int, error) {
	select {
	case f.pieces <- piece{bytes.Clone(p), time.Now().Add(f.after)}:
		return len(p), nil
	case <-f.delivered: // before its end: the other side has left
		return 0, errGone
	}
}

// deliver passes on what is due, until end is called or the link has gone.
func (f *far) deliver() {
	defer close(f.delivered)
	for p := range f.pieces {
		if d := time.Until(p.due); d > 0 && f.link.wait(d, nil) != nil {
			return
		}
		if _, err := f.to.Write(p.data); err != nil {
			return
		}
	}
}

// end says that nothing more is written, and waits until all has arrived.
func (f *far) end() {
	close(f.pieces)
	<-f.delivered
}
