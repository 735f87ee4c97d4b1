// go_relay is a recording gateway of sshpiper's kind, for the bench only: it lets a client in by its key, logs in to
// one target with a key of its own, passes whole messages on both ways, and records what the target sends. It has no
// policy, no audit log, no limits and no second factor, and checks nothing that it passes on.
//
//	go_relay -target 127.0.0.1:22 -target-key FILE.pub -user root -host-key FILE -authorized FILE.pub -key FILE -recordings DIR
//
// It prints the port that it listens on, one line.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

const msgGlobalRequest = 80

var (
	target     = flag.String("target", "", "HOST:PORT of the sshd")
	targetKey  = flag.String("target-key", "", "file of its public host key")
	user       = flag.String("user", "root", "the login there")
	hostKey    = flag.String("host-key", "", "file of our own host key")
	authorized = flag.String("authorized", "", "file of the public key that is let in")
	key        = flag.String("key", "", "file of the key that the target lets in")
	recordings = flag.String("recordings", "", "folder")
	sessions   atomic.Uint64
)

func signer(path string) ssh.Signer {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	made, err := ssh.ParsePrivateKey(text)
	if err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	return made
}

func public(path string) ssh.PublicKey {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	found, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	return found
}

// gateway has what does not change from one connection to the next.
type gateway struct {
	hostKey ssh.Signer
	allowed []byte
	client  *ssh.ClientConfig
}

// serve lets one client in, has it logged in to the target before it hears so, and relays until either side ends.
func (g *gateway) serve(conn net.Conn) error {
	defer conn.Close()
	var above *ssh.Packets
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(offered.Marshal(), g.allowed) {
				return nil, errors.New("not authorized")
			}
			return &ssh.Permissions{}, nil
		},
		VerifiedPublicKeyCallback: func(
			_ ssh.ConnMetadata, _ ssh.PublicKey, granted *ssh.Permissions, _ string,
		) (*ssh.Permissions, error) {
			dialled, err := net.Dial("tcp", *target)
			if err == nil {
				above, err = ssh.ClientPackets(dialled, *target, g.client)
			}
			return granted, err
		},
	}
	config.AddHostKey(g.hostKey)
	below, err := ssh.ServerPackets(conn, config)
	if above != nil {
		defer above.Close()
	}
	if err != nil {
		return err
	}
	defer below.Close()
	made := newCasts(*recordings, fmt.Sprint(sessions.Add(1)))
	defer made.close()
	ended := make(chan error, 2)
	go func() { ended <- relay(above, below, made.fromClient) }()
	go func() { ended <- relay(below, above, made.fromTarget) }()
	return <-ended
}

func relay(to, from *ssh.Packets, recorded func([]byte) error) error {
	for {
		message, err := from.Read()
		if err != nil {
			return err
		}
		if ofThisLeg(message) {
			continue
		}
		if err := recorded(message); err != nil {
			return err
		}
		if err := to.Write(message); err != nil {
			return err
		}
	}
}

// ofThisLeg says whether a message tells the host keys of the server that sent it: to the other side they are wrong.
func ofThisLeg(message []byte) bool {
	const name = "hostkeys-00@openssh.com"
	return message[0] == msgGlobalRequest && len(message) >= 5+len(name) &&
		binary.BigEndian.Uint32(message[1:]) == uint32(len(name)) && string(message[5:5+len(name)]) == name
}

func main() {
	flag.Parse()
	g := &gateway{
		hostKey: signer(*hostKey),
		allowed: public(*authorized).Marshal(),
		client: &ssh.ClientConfig{
			User:            *user,
			Auth:            []ssh.AuthMethod{ssh.PublicKeys(signer(*key))},
			HostKeyCallback: ssh.FixedHostKey(public(*targetKey)),
		},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			if err := g.serve(conn); err != nil && os.Getenv("GO_RELAY_VERBOSE") != "" {
				log.Print(err)
			}
		}()
	}
}
