// Points by the hundred thousand, drawn by WebGL 2 in one call; by a 2D canvas where there is none.
// regl-scatterplot would do this too, but regl compiles with `new Function`, which the page's
// Content-Security-Policy forbids (no unsafe-eval), and no release of it works without.

const VERTEX = `#version 300 es
in vec2 place; in vec4 colour; out vec4 paint;
uniform vec4 camera; uniform float size;
void main() {
  paint = colour;
  gl_Position = vec4(place * camera.xy + camera.zw, colour.a < .5 ? .5 : 0., 1.);
  gl_PointSize = size;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 paint; out vec4 pixel; uniform float size;
void main() {
  float edge = length(gl_PointCoord - .5) * size;
  float cover = clamp(size * .5 - edge, 0., 1.) * paint.a;
  if (cover <= 0.) discard;
  pixel = vec4(paint.rgb * cover, cover);
}`;

/** Something with colours(bytes RGBA for each point) and draw(camera, size in px of the screen). */
export function pointsOn(canvas, x, y) {
  const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true });
  return gl ? drawn(gl, canvas, x, y) : painted(canvas, x, y);
}

function drawn(gl, canvas, x, y) {
  const count = x.length, places = new Float32Array(2 * count);
  for (let n = 0; n < count; n++) { places[2 * n] = x[n]; places[2 * n + 1] = y[n]; }
  let program, colours, ready = null;

  function prepare() {
    program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    attribute("place", places, 2, gl.FLOAT, false);
    colours = attribute("colour", ready ?? new Uint8Array(4 * count), 4, gl.UNSIGNED_BYTE, true);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  function attribute(name, data, length, type, normal) {
    const buffer = gl.createBuffer(), at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, length, type, normal, 0, 0);
    return buffer;
  }

  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", prepare);
  prepare();
  return {
    kind: "webgl",
    colours(bytes) {
      ready = bytes;
      gl.bindBuffer(gl.ARRAY_BUFFER, colours);
      gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.DYNAMIC_DRAW);
    },
    draw({ scale, left, top, width, height, dots }, size) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform4f(gl.getUniformLocation(program, "camera"), 2 * scale / width, 2 * scale / height, 2 * left / width - 1, 1 - 2 * top / height);
      gl.uniform1f(gl.getUniformLocation(program, "size"), size * dots);
      gl.drawArrays(gl.POINTS, 0, count);
    },
    close() { gl.getExtension("WEBGL_lose_context")?.loseContext(); },
  };
}

function painted(canvas, x, y) {
  const brush = canvas.getContext("2d");
  let paints = [];
  return {
    kind: "canvas",
    colours(bytes) {
      paints = Array.from(x, (_, n) => `rgb(${bytes[4 * n]} ${bytes[4 * n + 1]} ${bytes[4 * n + 2]} / ${bytes[4 * n + 3] / 255})`);
    },
    draw({ scale, left, top, width, height, dots }, size) {
      brush.setTransform(dots, 0, 0, dots, 0, 0);
      brush.clearRect(0, 0, width, height);
      for (let n = 0; n < x.length; n++) {
        const px = left + x[n] * scale, py = top - y[n] * scale;
        if (px < 0 || py < 0 || px > width || py > height) continue;
        brush.fillStyle = paints[n];
        brush.fillRect(px - size / 2, py - size / 2, size, size);
      }
    },
    close() {},
  };
}
