// Thumbnails of JPEG, PNG and GIF images, with the standard library alone:
// curl --data-binary @photo.jpg 'http://127.0.0.1:8080/?size=128' -o small.jpg
package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/gif"
	"image/jpeg"
	_ "image/png"
	"strconv"

	"github.com/nuclio/nuclio-sdk-go"
)

const (
	sizeUsual = 128
	sizeMax   = 1024
	// A small file can claim to be a very large image.
	pixelsMax = 50_000_000
)

func Handler(context *nuclio.Context, event nuclio.Event) (interface{}, error) {
	size, err := sizeOf(event.GetFieldString("size"))
	if err != nil {
		return nil, nuclio.NewErrBadRequest(err.Error())
	}
	body := event.GetBody()
	head, kind, err := image.DecodeConfig(bytes.NewReader(body))
	if err != nil {
		return nil, nuclio.NewErrBadRequest("not an image: " + err.Error())
	}
	if head.Width*head.Height > pixelsMax {
		return nil, nuclio.NewErrBadRequest(fmt.Sprintf("%d x %d pixels are too many", head.Width, head.Height))
	}
	whole, _, err := image.Decode(bytes.NewReader(body))
	if err != nil {
		return nil, nuclio.NewErrBadRequest("a broken image: " + err.Error())
	}
	small := shrink(whole, size)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: 85}); err != nil {
		return nil, err
	}
	context.Logger.InfoWith("made", "from", kind, "width", small.Bounds().Dx(), "bytes", out.Len())
	return nuclio.Response{StatusCode: 200, ContentType: "image/jpeg", Body: out.Bytes()}, nil
}

func sizeOf(text string) (int, error) {
	if text == "" {
		return sizeUsual, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || size > sizeMax {
		return 0, fmt.Errorf("size: %q is not a number from 1 to %d", text, sizeMax)
	}
	return size, nil
}

// shrink makes each pixel the mean of those that it stands for, over white where they are clear.
func shrink(whole image.Image, size int) image.Image {
	from := whole.Bounds()
	width, height := from.Dx(), from.Dy()
	if width > size || height > size {
		if width >= height {
			width, height = size, max(1, height*size/width)
		} else {
			width, height = max(1, width*size/height), size
		}
	}
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := 0; y < height; y++ {
		for x := 0; x < width; x++ {
			part := image.Rect(
				from.Min.X+x*from.Dx()/width, from.Min.Y+y*from.Dy()/height,
				from.Min.X+(x+1)*from.Dx()/width, from.Min.Y+(y+1)*from.Dy()/height,
			)
			small.Set(x, y, mean(whole, part))
		}
	}
	return small
}

func mean(whole image.Image, part image.Rectangle) color.Color {
	var sum [3]uint64
	count := uint64(0)
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			r, g, b, a := whole.At(x, y).RGBA()
			for i, value := range [3]uint32{r, g, b} {
				sum[i] += uint64(value + 0xffff - a)
			}
			count++
		}
	}
	return color.RGBA64{
		R: uint16(sum[0] / count), G: uint16(sum[1] / count), B: uint16(sum[2] / count), A: 0xffff,
	}
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}
