"""The words captions are made of.

A text is a grammar: `[a|b|c]` picks one at random (nesting allowed), `<is|are>` is singular or plural by its subject,
and `{name}` is filled in. No synonym of a color, shape, floor or camera move may be read as another one's.
All words are ASCII.
"""

COLOR_WORDS = {
    "red": "[red|red|red|bright red|vivid red|scarlet|crimson|ruby-red|cherry-red]",
    "orange": "[orange|orange|orange|bright orange|vivid orange|tangerine|pumpkin-orange|carrot-orange]",
    "yellow": "[yellow|yellow|yellow|bright yellow|lemon-yellow|canary-yellow|sunny yellow|vivid yellow]",
    "green": "[green|green|green|deep green|leaf-green|emerald|emerald-green|rich green]",
    "cyan": "[cyan|cyan|cyan|turquoise|bright cyan|aqua|aqua-colored|vivid cyan]",
    "blue": "[blue|blue|blue|deep blue|royal blue|cobalt-blue|cobalt|ultramarine]",
    "purple": "[purple|purple|purple|violet|deep purple|grape-purple|rich violet|dark purple]",
    "pink": "[pink|pink|pink|rose-pink|light pink|bubblegum-pink|soft pink|pastel pink]",
}
SHAPE_WORDS = {
    "sphere": "[ball|ball|ball|sphere|sphere|orb|globe|round ball]",
    "box": "[cube|cube|cube|block|block|box|square block|cubic block]",
    "cylinder": "[cylinder|cylinder|cylinder|drum|canister|can|cylindrical drum|cylindrical block]",
    "capsule": "[capsule|capsule|capsule|pill|pill shape|rounded capsule|pill-shaped body|capsule shape]",
}
PILED_WORDS = {"box": "[cubes|cubes|blocks]", "cylinder": "[drums|drums|cylinders]"}
SIZE_WORDS = {
    "small": "[small|small|little|compact|smallish]",
    "large": "[large|large|big|sizable|hefty]",
}
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FLOOR_WORDS = {
    "checker": "a [checkered floor|checkerboard floor|floor of checkered tiles|chessboard-patterned floor|"
    "checkered tile floor|shiny checkerboard]",
    "wood": "[a wooden floor|a hardwood floor|a floor of wooden planks|wooden boards|a planked wooden floor|a "
    "timber floor]",
    "concrete": "[a concrete floor|bare concrete|a gray concrete slab|a smooth concrete floor|a cement floor|plain "
    "concrete]",
    "grass": "[a green lawn|short grass|a grassy field|grassy ground|a lawn|a meadow of short grass|mown grass]",
    "sand": "[sandy ground|sand|a sandy plain|fine sand|a sandy beach|rippled sand|desert sand]",
}
FLOOR_DETAIL = {
    "checker": "[The tiles alternate between pale and blue-gray squares|Light and blue-gray squares alternate "
    "across the floor|The checkered tiles shine faintly and mirror what stands on them|A pattern of pale and dark "
    "squares runs to the horizon]",
    "wood": "[The grain of the planks runs away into the distance|Warm brown planks stretch toward the horizon|The "
    "boards show a fine brown grain|Long boards lead the eye into the distance]",
    "concrete": "[The gray surface is bare and slightly worn|Faint joints divide the gray surface|The concrete is "
    "flat, gray and empty|The ground is plain gray and level]",
    "grass": "[The grass is short and even|The green field stretches to the horizon|The lawn is freshly cut and "
    "level|Blades of short grass cover the level ground]",
    "sand": "[Small ripples cross the pale sand|The pale sand is level and dry|Fine ripples run through the beige "
    "sand|The dry sand stretches to the horizon]",
}
LIGHT_WORDS = {
    "noon": "[bright midday sun|a clear noon sky|strong sunlight from above|midday light|clear daylight at noon|"
    "the noon sun]",
    "soft": "[soft overcast light|an overcast sky|diffuse light|gentle cloudy daylight|even gray daylight|a soft "
    "white sky]",
    "evening": "[warm evening light|a low evening sun|golden sunset light|the last sun of the day|late evening "
    "light|a sunset sky]",
}
LIGHT_DETAIL = {
    "noon": "[Bright midday sun casts crisp, short shadows|Strong sunlight from above draws sharp shadows|Under "
    "the clear noon sky every shadow is short and hard|The noon sun lights the scene from high above]",
    "soft": "[Soft overcast light leaves only faint shadows|Diffuse light from an overcast sky keeps the shadows "
    "soft|Even gray daylight wraps around everything|A cloudy sky gives soft, gentle shading]",
    "evening": "[Warm evening light draws long shadows|A low evening sun tints everything gold|The sunset sky "
    "glows and the shadows are long|Late sunlight falls in from the side, warm and low]",
}
CAMERA_CLAUSE = {
    "static": "[the camera stays still|the camera does not move|the camera remains fixed|the camera is static|the "
    "view stays fixed|the camera holds its position]",
    "pan left": "the camera [pans|turns|swivels|sweeps] [left|to the left|slowly to the left|toward the left]",
    "pan right": "the camera [pans|turns|swivels|sweeps] [right|to the right|slowly to the right|toward the right]",
    "orbit left": "the camera [[orbits|circles|arcs] [left|to the left|toward the left]|travels around the scene "
    "to the left]",
    "orbit right": "the camera [[orbits|circles|arcs] [right|to the right|toward the right]|travels around the "
    "scene to the right]",
    "zoom in": "the camera [zooms in|moves closer|pushes in|glides forward|slowly approaches|dollies in]",
    "zoom out": "the camera [zooms out|moves back|pulls back|glides backward|slowly backs away|dollies out]",
}
CAMERA_DETAIL = {
    "static": "[, as if on a tripod| for the whole clip| throughout|, and the framing never changes| from start to "
    "finish]",
    "pan left": "[, so that everything drifts to the right of the frame| at an even pace| in one smooth turn| "
    "throughout]",
    "pan right": "[, so that everything drifts to the left of the frame| at an even pace| in one smooth turn| "
    "throughout]",
    "orbit left": "[, always facing the middle of the scene| in one smooth curve| at an even pace| around the center]",
    "orbit right": "[, always facing the middle of the scene| in one smooth curve| at an even pace| around the center]",
    "zoom in": "[, so that everything grows in the frame|, all in one smooth move| at an even pace| throughout]",
    "zoom out": "[, so that everything shrinks in the frame|, all in one smooth move| at an even pace| throughout]",
}
SPEED_WORDS = {
    "slowly": "[slowly|gently|at a slow pace|unhurriedly|leisurely]",
    "quickly": "[quickly|fast|swiftly|rapidly|briskly]",
}
PROPS = {
    "cover": "[a screen|a standing panel|an upright board|a partition|a plain screen|a freestanding panel]",
    "arm": "[a robot arm|a robotic arm|a mechanical arm|a jointed robot arm|a steel robot arm|an industrial robot arm]",
    "ramp": "[a ramp|a sloping plank|an inclined plank|a slope|an incline|a tilted board]",
    "string": "[a string|a thin cord|a cord|a thin line|a rope|a tether]",
}

STILL_CLAUSE = (
    "[while {rest} <rests|rest> nearby|while {rest} <stands|stand> still|as {rest} <remains|remain> at rest"
    "|while {rest} <stays|stay> in place|beside {rest} that <stays|stay> still|with {rest} resting nearby"
    "|while {rest} <sits|sit> motionless]"
)
OPENING = (
    "[This|The] [clip|video|short video|shot|sequence] [shows|presents|captures|opens on|depicts] a "
    "[simple|quiet|clean|minimal|tidy|calm] [computer-rendered|simulated|rendered 3D|digitally rendered] "
    "[scene|world|setting|little world] [on {floor}|set on {floor}|that rests on {floor}|built on {floor}]"
)
CLOSING = (
    "[The motion is smooth and follows the laws of physics|Weight, contact and friction look natural|The objects move "
    "with believable weight|Every contact looks physically plausible|The physics looks real]",
    "[The colors are clear and saturated against the calm background|The picture is crisp, with clean edges and plain "
    "surfaces|Surfaces are smooth and the colors are pure|The style is that of a tidy 3D animation|The look is "
    "realistic, with smooth surfaces and soft reflections]",
    "[Nothing else is in view|There is nothing else in the scene|The rest of the scene is empty|The background is "
    "empty]",
    "[The horizon lies far behind|An open sky meets the ground in the distance|The ground fades into a hazy horizon]",
)

# What happens, by motion label, with the acting object as the subject. {to} and the rest come from the scene.
ACTION = {
    "fall": "[<falls|fall>|<drops|drop>|<plummets|plummet>|<plunges|plunge>] [straight down|from the air|from "
    "above|to the ground|downward] [and <lands|land> with a thud|and <comes|come> to rest|and <stays|stay> where <it "
    "lands|they land>|without bouncing back|and <settles|settle>]",
    "bounce": "[<falls|fall>|<drops|drop>] [from the air|from above|to the ground|straight down] and [<bounces|"
    "bounce>|<rebounds|rebound>|<springs|spring> back] [several times|again and again|up and down|repeatedly]",
    "throw left": "[<flies|fly>|<is thrown|are thrown>|<is tossed|are tossed>|<sails|sail>] [to the left|leftward|"
    "toward the left] through the air and [<bounces|bounce> along|<bounces|bounce> across the ground|<keeps|keep> "
    "bouncing onward]",
    "throw right": "[<flies|fly>|<is thrown|are thrown>|<is tossed|are tossed>|<sails|sail>] [to the right|"
    "rightward|toward the right] through the air and [<bounces|bounce> along|<bounces|bounce> across the ground|"
    "<keeps|keep> bouncing onward]",
    "roll left": "[rolls|rolls along|rolls steadily] [to the left|leftward|from right to left|toward the left] {speed}",
    "roll right": "[rolls|rolls along|rolls steadily] [to the right|rightward|from left to right|toward the right] "
    "{speed}",
    "roll toward": "[rolls|comes rolling|rolls steadily] [toward the camera|toward the viewer|closer to the camera|"
    "forward to the viewer] {speed}",
    "roll away": "[rolls|rolls off|rolls steadily] [away from the camera|away from the viewer|into the distance|"
    "into the background] {speed}",
    "roll left and hit": "rolls [to the left|leftward|from right to left] {speed} and [hits|strikes|bumps into|"
    "knocks away|collides with|runs into] {struck}",
    "roll right and hit": "rolls [to the right|rightward|from left to right] {speed} and [hits|strikes|bumps into|"
    "knocks away|collides with|runs into] {struck}",
    "slide down left": "[slides|slips|glides] down {ramp} [to the left|toward the left|leftward]{hits}",
    "slide down right": "[slides|slips|glides] down {ramp} [to the right|toward the right|rightward]{hits}",
    "roll down left": "[rolls|comes rolling|runs] down {ramp} [to the left|toward the left|leftward]{hits}",
    "roll down right": "[rolls|comes rolling|runs] down {ramp} [to the right|toward the right|rightward]{hits}",
    "tower hit from the left": "{comes} [from the left|in from the left side] and [hits|crashes into|smashes into|"
    "slams into|knocks over] {group}",
    "tower hit from the right": "{comes} [from the right|in from the right side] and [hits|crashes into|smashes "
    "into|slams into|knocks over] {group}",
    "topple left": "[rolls into|bumps|tips over|nudges|knocks] the [first|rightmost|nearest] of {group}, [which "
    "topple to the left|and they fall one after another to the left|and the row topples leftward|which fall to the "
    "left in a chain]",
    "topple right": "[rolls into|bumps|tips over|nudges|knocks] the [first|leftmost|nearest] of {group}, [which "
    "topple to the right|and they fall one after another to the right|and the row topples rightward|which fall to the "
    "right in a chain]",
    "swing from the left": "[hanging from|on|tied to|suspended from] {string} [swings|swings back and forth|sways "
    "like a pendulum|swings like a pendulum], [starting from the left|released on the left|starting on the left side]",
    "swing from the right": "[hanging from|on|tied to|suspended from] {string} [swings|swings back and forth|sways "
    "like a pendulum|swings like a pendulum], [starting from the right|released on the right|starting on the right "
    "side]",
    "strike from the left": "[hanging from|on|tied to|suspended from] {string} [swings in|swings down|swings like "
    "a pendulum] [from the left|from the left side] and [strikes|hits|knocks away|bumps] {struck}",
    "strike from the right": "[hanging from|on|tied to|suspended from] {string} [swings in|swings down|swings like "
    "a pendulum] [from the right|from the right side] and [strikes|hits|knocks away|bumps] {struck}",
    "push left": "{arm} [pushes|shoves|slides|moves] {actor} [to the left|leftward|toward the left|across the "
    "ground to the left]",
    "push right": "{arm} [pushes|shoves|slides|moves] {actor} [to the right|rightward|toward the right|across the "
    "ground to the right]",
    "lift": "{arm} [lifts|raises|picks up|hoists] {actor} [off the ground|into the air|from the ground|up]",
    "pass behind to the left": "rolls [to the left|leftward|from right to left] {speed}, [passes|disappears|"
    "vanishes|goes] behind {cover} and [comes out|reappears|emerges|shows up again] [on the other side|on its left "
    "side|on the left]",
    "pass behind to the right": "rolls [to the right|rightward|from left to right] {speed}, [passes|disappears|"
    "vanishes|goes] behind {cover} and [comes out|reappears|emerges|shows up again] [on the other side|on its right "
    "side|on the right]",
}

# The same in three to eight words.
BRIEF = {
    "fall": "{actor} [<falls|fall>|<drops|drop>|<falls|fall> down|<drops|drop> down]",
    "bounce": "{actor} [<bounces|bounce>|<falls|fall> and <bounces|bounce>|<drops|drop> and <bounces|bounce>]",
    "throw left": "{actor} [flies|is thrown|is tossed|bounces along] [left|to the left]",
    "throw right": "{actor} [flies|is thrown|is tossed|bounces along] [right|to the right]",
    "roll left": "{actor} rolls [left|to the left|leftward]",
    "roll right": "{actor} rolls [right|to the right|rightward]",
    "roll toward": "{actor} rolls [toward the camera|toward the viewer|toward us]",
    "roll away": "{actor} rolls [away|away from us|into the distance]",
    "roll left and hit": "{actor} rolls left [into|and hits] {struck}",
    "roll right and hit": "{actor} rolls right [into|and hits] {struck}",
    "slide down left": "{actor} [slides|slips] down left",
    "slide down right": "{actor} [slides|slips] down right",
    "roll down left": "{actor} rolls down a ramp leftward",
    "roll down right": "{actor} rolls down a ramp rightward",
    "tower hit from the left": "{actor} [hits|topples] a tower from the left",
    "tower hit from the right": "{actor} [hits|topples] a tower from the right",
    "topple left": "[dominoes topple|a row of dominoes topples|dominoes fall] [left|to the left]",
    "topple right": "[dominoes topple|a row of dominoes topples|dominoes fall] [right|to the right]",
    "swing from the left": "{actor} [swings|on a string swings] from the left",
    "swing from the right": "{actor} [swings|on a string swings] from the right",
    "strike from the left": "{actor} swings from the left into something",
    "strike from the right": "{actor} swings from the right into something",
    "push left": "a robot [arm pushes|pushes] {actor} left",
    "push right": "a robot [arm pushes|pushes] {actor} right",
    "lift": "a robot [arm lifts|lifts|raises] {actor}",
    "pass behind to the left": "{actor} rolls left behind {cover}",
    "pass behind to the right": "{actor} rolls right behind {cover}",
}

# How an actor looks before anything happens.
BEGINNING = {
    "fall": "[hovers in the air|hangs high in the air|waits in midair|is held in the air]",
    "roll": "[starts|begins|appears|enters the action]",
    "ramp": "[rests high on {ramp}|waits near the top of {ramp}|sits at the upper end of {ramp}]",
    "tower": "[approaches at speed|comes in fast|is already on its way]",
    "dominoes": "[rolls toward the row|approaches the row|is on its way to the row]",
    "pendulum": "[hangs from {string}, pulled aside|is held aside on {string}|is drawn aside on {string}]",
    "arm": "[stands within reach of {arm}|waits beside {arm}|sits in front of {arm}]",
    "hide": "[starts in the open|begins in full view|appears in the open]",
}
