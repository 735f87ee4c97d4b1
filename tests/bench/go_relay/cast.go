package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	msgChannelOpenConfirm = 91
	msgChannelData        = 94
	msgChannelRequest     = 98
)

// casts writes what the target sends on each channel with a shell or a command, as asciicast 2, message by message,
// before it is passed on.
type casts struct {
	prefix string
	lock   sync.Mutex
	open   map[uint32]*cast  // by the client's number of the channel
	names  map[uint32]uint32 // the client's number by the target's
	line   []byte
}

type cast struct {
	file  *os.File
	began time.Time
}

func newCasts(folder, name string) *casts {
	prefix := filepath.Join(folder, name)
	return &casts{prefix: prefix, open: map[uint32]*cast{}, names: map[uint32]uint32{}}
}

// fromTarget looks at one message that the target sent.
func (c *casts) fromTarget(message []byte) error {
	switch {
	case message[0] == msgChannelOpenConfirm && len(message) >= 9:
		c.lock.Lock()
		c.names[binary.BigEndian.Uint32(message[5:])] = binary.BigEndian.Uint32(message[1:])
		c.lock.Unlock()
	case message[0] == msgChannelData && len(message) >= 9:
		c.lock.Lock()
		found := c.open[binary.BigEndian.Uint32(message[1:])]
		c.lock.Unlock()
		if found != nil {
			return c.write(found, message[9:])
		}
	}
	return nil
}

func (c *casts) write(to *cast, data []byte) error {
	text, err := json.Marshal(string(data))
	if err != nil {
		return err
	}
	line := append(c.line[:0], '[')
	line = strconv.AppendFloat(line, time.Since(to.began).Seconds(), 'f', 6, 64)
	line = append(line, `,"o",`...)
	line = append(line, text...)
	c.line = append(line, "]\n"...)
	_, err = to.file.Write(c.line)
	return err
}

// fromClient looks at one message that the client sent: a shell or a command begins a recording.
func (c *casts) fromClient(message []byte) error {
	if message[0] != msgChannelRequest || len(message) < 9 {
		return nil
	}
	length := uint64(binary.BigEndian.Uint32(message[5:]))
	if uint64(len(message)) < 9+length {
		return nil
	}
	kind := string(message[9 : 9+length])
	if kind != "shell" && kind != "exec" && kind != "subsystem" {
		return nil
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	number, known := c.names[binary.BigEndian.Uint32(message[1:])]
	if !known || c.open[number] != nil {
		return nil
	}
	file, err := os.OpenFile(fmt.Sprintf("%s-%s-%d.cast", c.prefix, kind, number), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	began := time.Now()
	c.open[number] = &cast{file, began}
	_, err = fmt.Fprintf(file, "{\"version\": 2, \"width\": 80, \"height\": 24, \"timestamp\": %d}\n", began.Unix())
	return err
}

func (c *casts) close() {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, one := range c.open {
		one.file.Close()
	}
}
